package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/goldtrail/goldtrail/internal/trail"
)

// period is the time that a question is about.
type period struct {
	since, from, to string
}

const defaultSince = "24h"

func (p *period) register(flags *pflag.FlagSet) {
	flags.StringVar(&p.since, "since", "", "from so long ago until now: 90m, 24h, 7d, 4w ("+defaultSince+"; with --file all of it)")
	flags.StringVar(&p.from, "from", "", "from this time: 2026-11-22T02:00:00Z, '2026-11-22 02:00', 02:00, or so long ago: 26h")
	flags.StringVar(&p.to, "to", "", "until this time (now)")
	refuseEmpty(flags, "since", "from", "to")
}

// snapFrom is from which length on a --since begins with a full hour: its first half hour
// in flow records would take longer than a day in rollups.
const snapFrom = 12 * time.Hour

// span is the time range. all is what to take if nothing is said.
func (p *period) span(e *environment, all *trail.Span) (trail.Span, error) {
	now := e.clock.Now()
	if p.since != "" && (p.from != "" || p.to != "") {
		return trail.Span{}, usagef("'--since' and '--from'/'--to' contradict each other: --since ends now; give --from and --to for another end")
	}
	span := trail.Span{To: now}
	since := p.since
	if p.from == "" && since == "" {
		if all != nil {
			span = *all
		} else {
			since = defaultSince
		}
	}
	if since != "" {
		d, err := parseDuration(since)
		if err != nil {
			return span, usagef("'--since' is %q: %w", since, err)
		}
		span.From = now.Add(-d)
		if d >= snapFrom {
			span.From = span.From.Truncate(time.Hour)
		}
		if err := tooEarly(span.From); err != nil {
			return span, usagef("'--since' is %q: %w", since, err)
		}
	}
	var err error
	if p.from != "" {
		if span.From, err = parseTime(p.from, now, e.zone); err != nil {
			return span, usagef("'--from' is %q: %w", p.from, err)
		}
	}
	if p.to != "" {
		if span.To, err = parseTime(p.to, now, e.zone); err != nil {
			return span, usagef("'--to' is %q: %w", p.to, err)
		}
		// Until 07:30, asked at 06:53 about what began at 06:40: not yesterday's.
		if today, ok := timeOfToday(p.to, now, e.zone); ok && today.After(now) && !span.From.Before(span.To) {
			span.To = now
		}
	}
	switch {
	case !span.From.Before(span.To):
		return span, usagef("the time begins at %s and ends at %s: it must begin before it ends", e.clockTime(span.From), e.clockTime(span.To))
	case span.From.After(now):
		return span, usagef("the time begins at %s, which is still to come", e.clockTime(span.From))
	}
	if span.To.After(now) {
		span.To = now
	}
	return span, nil
}

var durationParts = regexp.MustCompile(`^([0-9]+w)?([0-9]+d)?([0-9].*)?$`)

// parseDuration also knows days and weeks.
func parseDuration(s string) (time.Duration, error) {
	parts := durationParts.FindStringSubmatch(s)
	if s == "" || parts == nil {
		return 0, errNotADuration
	}
	var total time.Duration
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour} {
		if part := parts[i+1]; part != "" {
			n, err := strconv.Atoi(part[:len(part)-1])
			if err != nil || n > 10000 {
				return 0, errNotADuration
			}
			total += time.Duration(n) * unit
		}
	}
	if parts[3] != "" {
		d, err := time.ParseDuration(parts[3])
		if err != nil || d < 0 {
			return 0, errNotADuration
		}
		total += d
	}
	if total <= 0 {
		return 0, errNotADuration
	}
	return total, nil
}

var errNotADuration = fmt.Errorf("must be a length of time, like 90m, 24h, 7d, 4w or 1d12h")

// layouts are the ways to write a time; those without a zone are in the person's own.
var layouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly}

// parseTime reads a time, a time of today, or how long ago.
func parseTime(s string, now time.Time, zone *time.Location) (time.Time, error) {
	t, err := readTime(s, now, zone)
	if err == nil {
		err = tooEarly(t)
	}
	return t, err
}

// tooEarly refuses a time that no trail has: Goldmane came with Calico 3.30, in 2025. A question about centuries
// would be thousands of questions to Loki, which refuses a range across 1970, with words
// about max_query_lookback.
func tooEarly(t time.Time) error {
	if t.Year() < 2020 {
		return fmt.Errorf("that is in the year %d: must not be before 2020, no trail is as old", t.Year())
	}
	return nil
}

func readTime(s string, now time.Time, zone *time.Location) (time.Time, error) {
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	if t, ok := timeOfToday(s, now, zone); ok {
		if t.After(now) {
			t = t.AddDate(0, 0, -1) // 23:00, asked at 01:00
		}
		return t, nil
	}
	if s == "now" {
		return now, nil
	}
	if d, err := parseDuration(strings.TrimPrefix(s, "-")); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("must be a time, like 2026-11-22T02:00:00Z, '2026-11-22 02:00' or 02:00, or how long ago, like 26h")
}

// timeOfToday reads a time without a day.
func timeOfToday(s string, now time.Time, zone *time.Location) (time.Time, bool) {
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			y, m, d := now.In(zone).Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, zone), true
		}
	}
	return time.Time{}, false
}

// clockTime is a time as people read it.
func (e *environment) clockTime(t time.Time) string {
	return t.In(e.zone).Format("2006-01-02 15:04:05")
}

// open returns the trail that is asked, and the span.
func (a *app) open(ctx context.Context, p *period) (*trail.Trail, trail.Span, error) {
	source, all, err := a.source(ctx)
	if err != nil {
		return nil, trail.Span{}, err
	}
	span, err := p.span(a.environment, all)
	if err != nil {
		return nil, span, err
	}
	t, err := a.trail(ctx, source, span)
	return t, span, err
}

// source is a Loki, or a file with the time that it covers.
func (a *app) source(ctx context.Context) (trail.Source, *trail.Span, error) {
	a.progress = progress{environment: a.environment, begin: a.clock.Now()}
	if a.connection.File != "" {
		file := &trail.File{Path: a.connection.File, Progress: a.progress.show}
		all, err := file.Span(ctx)
		if now := a.clock.Now(); all.To.After(now) {
			all.To = now
		}
		return file, &all, err
	}
	client, err := a.connection.client(ctx)
	if err != nil {
		return nil, nil, err
	}
	client.Asked = a.asked.note
	return client, nil, nil
}

func (a *app) trail(ctx context.Context, source trail.Source, span trail.Span) (*trail.Trail, error) {
	cluster, err := trail.ChooseCluster(ctx, source, a.connection.Cluster, span, a.clock.Now())
	if err != nil {
		return nil, err
	}
	return &trail.Trail{Source: source, Cluster: cluster, Clock: a.clock, Progress: a.progress.show}, nil
}
