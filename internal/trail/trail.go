package trail

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// Trail answers questions from a Source. It is not safe for concurrent use.
type Trail struct {
	Source  Source
	Cluster string
	Clock   clockwork.Clock
	// Progress, if not nil, is told what is being read, and how much of it is.
	Progress func(what string, done, all int)
}

// NoDataError is returned for a range of which the trail has nothing.
type NoDataError struct {
	Cluster string
	Span    Span
	// Begin is when the trail begins after the span, End until when it reaches before it;
	// zero if it does not. Of a file they are what the file is about.
	Begin, End time.Time
	// Young: the trail reaches so near to the present that the span is on its way.
	Young bool
	File  string // that was read, "" for a Loki
}

func (e *NoDataError) Error() string {
	text := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	nothing := fmt.Sprintf("the trail of cluster %q has nothing from %s to %s", e.Cluster, text(e.Span.From), text(e.Span.To))
	switch begins := !e.Begin.IsZero(); {
	case e.File != "":
		return fmt.Sprintf("%s: %s is about %s to %s; ask for a time in it", nothing, e.File, text(e.Begin), text(e.End))
	case e.Young:
		return fmt.Sprintf("%s yet: a window is there about 75 s after its start, and it reaches until %s; ask for a longer time", nothing, text(e.End))
	case begins && !e.End.IsZero():
		return fmt.Sprintf("%s: it reaches until %s, and goes on at %s; ask for a longer time, and `goldtrail coverage` says what is missing", nothing, text(e.End), text(e.Begin))
	case begins:
		return fmt.Sprintf("%s: it begins at %s; ask for a later time", nothing, text(e.Begin))
	case !e.End.IsZero():
		return fmt.Sprintf("%s, nor after: it reaches until %s; check that the collector runs, and writes to this Loki (its exporter's endpoint and tenant)", nothing, text(e.End))
	}
	return nothing + ", nor after: check that the collector writes to this Loki (its exporter's endpoint and tenant), and the cluster's name"
}

// ClusterError is returned where it is not clear which cluster is meant.
type ClusterError struct {
	Wanted string
	Known  []string
}

func (e *ClusterError) Error() string {
	known := strings.Join(e.Known, ", ")
	if e.Wanted == "" {
		return fmt.Sprintf("there are %d clusters here: choose one with --cluster: %s", len(e.Known), known)
	}
	return fmt.Sprintf("no trail of cluster %q in this time; there is one of: %s", e.Wanted, known)
}

// ChooseCluster finds out which cluster the questions are about: the wanted one, or
// else the only one that has a trail in the span, or, where none has, in the weeks before
// and until now. A trail without a name is that of "".
func ChooseCluster(ctx context.Context, source Source, wanted string, span Span, now time.Time) (string, error) {
	known, err := source.Clusters(ctx, span)
	if err == nil && len(known) == 0 {
		known, err = source.Clusters(ctx, Span{span.From.Add(-lookBack), now})
	}
	switch {
	case err != nil:
		return "", err
	case wanted != "" && (len(known) == 0 || slices.Contains(known, wanted)):
		return wanted, nil
	case wanted != "":
		return "", &ClusterError{wanted, known}
	case len(known) > 1:
		return "", &ClusterError{"", known}
	case len(known) == 1:
		return known[0], nil
	}
	return "", nil
}

// lookBack is how far before a range the trail is looked for, to tell a hole from its
// beginning.
const lookBack = 28 * 24 * time.Hour

// started returns the interval, widened to windows as long as the trail's are, and when the
// trail begins, if that is in the interval; its start if the trail began before, and
// NoDataError if there is nothing.
func (t *Trail) started(ctx context.Context, i interval) (all interval, begin int64, err error) {
	span := unix(i.from, i.to)
	at, ok, err := t.Source.Begin(ctx, t.Cluster, span)
	if err != nil {
		return i, 0, err
	}
	if !ok {
		return i, 0, t.noData(ctx, span)
	}
	if at.Before(span.From) {
		at = span.From
	}
	first, window, err := t.first(ctx, Span{at, span.To})
	if err != nil {
		return i, 0, err
	}
	i = interval{i.from / window * window, (i.to + window - 1) / window * window}
	if !first.After(span.From) {
		return i, i.from, nil
	}
	before, ok, err := t.Source.Begin(ctx, t.Cluster, Span{span.From.Add(-lookBack), span.From})
	if err != nil || ok && before.Before(span.From) {
		return i, i.from, err
	}
	return i, first.Unix() / window * window, nil
}

// noData returns NoDataError, or why it is not known what to say in it.
func (t *Trail) noData(ctx context.Context, span Span) error {
	missing := &NoDataError{Cluster: t.Cluster, Span: span}
	if file, is := t.Source.(*File); is {
		about, err := file.Span(ctx)
		missing.File, missing.Begin, missing.End = file.Path, about.From.Truncate(defaultWindow*time.Second), about.To
		return cmp.Or(err, error(missing))
	}
	now := t.Clock.Now()
	after, ok, err := t.Source.Begin(ctx, t.Cluster, Span{span.To, now})
	if ok && err == nil {
		var window int64
		after, window, err = t.first(ctx, Span{after, now})
		missing.Begin = after.Truncate(time.Duration(window) * time.Second)
	}
	if err == nil {
		missing.End, err = t.end(ctx, span.From)
		missing.Young = !ok && now.Sub(missing.End) < pending
	}
	return cmp.Or(err, error(missing))
}

// end is when the newest window ends that begins before a time, zero if there is none in
// the weeks before.
func (t *Trail) end(ctx context.Context, before time.Time) (end time.Time, err error) {
	const hours = 3 * time.Hour // as in first
	span := Span{before.Add(-lookBack), before}
	if _, there, err := t.Source.Begin(ctx, t.Cluster, span); err != nil || !there {
		return end, err
	}
	for span.To.Sub(span.From) > hours {
		half := span.From.Add(span.To.Sub(span.From) / 2)
		switch _, there, err := t.Source.Begin(ctx, t.Cluster, Span{half, span.To}); {
		case err != nil:
			return end, err
		case there:
			span.From = half
		default:
			span.To = half
		}
	}
	q := &Question{Cluster: t.Cluster, Stream: flowlog.StreamCoverage, Spans: []Span{{span.From.Add(-hours), span.To}}}
	l := newLedger()
	err = t.Source.Read(ctx, q, l.take)
	newest := int64(0)
	for _, c := range l.windows {
		newest = max(newest, c.End)
	}
	for start := range l.foreign {
		newest = max(newest, start+l.window)
	}
	if newest > 0 {
		end = time.Unix(newest, 0)
	}
	return end, err
}

// first is the time of the first record of a window in the first hours of the span, or
// the span's start if there is none, and how long windows are then, in seconds.
func (t *Trail) first(ctx context.Context, span Span) (at time.Time, window int64, err error) {
	const hours = 3 * time.Hour // more than what the index does not know exactly
	if span.To.Sub(span.From) > hours {
		span.To = span.From.Add(hours)
	}
	at = span.To
	l := newLedger()
	for _, stream := range []string{flowlog.StreamCoverage, flowlog.StreamFlows} {
		q := &Question{Cluster: t.Cluster, Stream: stream, Spans: []Span{span}, Limit: 1}
		err := t.Source.Read(ctx, q, func(e *Entry) error {
			if e.Time.Before(at) {
				at = e.Time
			}
			if stream == flowlog.StreamCoverage {
				l.add(e)
			}
			return nil
		})
		if err != nil {
			return at, l.window, err
		}
	}
	if at.Equal(span.To) {
		at = span.From
	}
	return at, l.window, nil
}

// progress tells Progress, if there is one.
func (t *Trail) progress(what string, done, all int) {
	if t.Progress != nil {
		t.Progress(what, done, all)
	}
}

// readCoverage reads what the trail says of the windows of each interval.
func (t *Trail) readCoverage(ctx context.Context, l *ledger, list []interval) error {
	if len(list) == 0 {
		return nil
	}
	q := &Question{Cluster: t.Cluster, Stream: flowlog.StreamCoverage}
	for _, i := range merged(list) {
		q.Spans = append(q.Spans, unix(i.from, i.to))
	}
	if err := t.Source.Read(ctx, q, l.take); err != nil {
		return err
	}
	// A gap's record has the time of its last window.
	last := q.Spans[len(q.Spans)-1].To
	q.Spans = []Span{{last, last.Add(gapsBeyond)}}
	q.Filter = containing(gapWord)
	for _, i := range merged(list) {
		if end := unix(i.to, i.to+int64(gapsBeyond/time.Second)); end.To.Before(last) {
			q.Spans = append(q.Spans, end)
		}
	}
	return t.Source.Read(ctx, q, func(e *Entry) error {
		if strings.Contains(e.Line, gapWord) {
			l.add(e)
		}
		return nil
	})
}

// gapWord is in the line of a gap, whatever its version, and of no window's.
const gapWord = "gap "

// gapsBeyond is how long after a window's end the record of the gap it is in can be:
// Goldmane's ring, by the trail's format.
const gapsBeyond = time.Hour

// merged joins intervals that touch.
func merged(list []interval) []interval {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b interval) int { return int(a.from - b.from) })
	var out []interval
	for _, i := range list {
		if n := len(out); n > 0 && i.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, i.to)
		} else {
			out = append(out, i)
		}
	}
	return out
}
