package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

const (
	// A window is handed on 75 s after its start, and its records have times from its start
	// on. Two minutes is what `goldtrail coverage` calls pending.
	freshCoverage = 2 * time.Minute
	// freshFlows is longer: there may be no traffic for a while.
	freshFlows = 10 * time.Minute
	// A rollup has the time of its interval's end.
	freshEdgesQuarters = 45 * time.Minute
	freshEdges         = 2 * time.Hour
	freshEdgesDaily    = 26 * time.Hour
	// staleCoverage is when the Collector has stopped.
	staleCoverage = 10 * time.Minute
)

// recordsOf is a stream, how far back its newest record is looked for, and how old that
// may be.
type recordsOf struct {
	stream, filter string
	back, fresh    time.Duration
}

var recordsLooked = []recordsOf{
	{flowlog.StreamCoverage, "", 26 * time.Hour, freshCoverage},
	{flowlog.StreamFlows, "", 26 * time.Hour, freshFlows},
	{flowlog.StreamEdgesQuarters, ` |= "rollup "`, 26 * time.Hour, freshEdgesQuarters},
	{flowlog.StreamEdges, ` |= "rollup "`, 26 * time.Hour, freshEdges},
	{flowlog.StreamEdgesDaily, ` |= "rollup "`, 7 * 24 * time.Hour, freshEdgesDaily},
}

// records checks what has come of it all: that new records are there, and how complete
// the last hour is.
func (l *Loki) records(ctx context.Context, clock clockwork.Clock, s *section) {
	area := s.area
	defer func() { s.area = area }()
	s.area = AreaTrail
	now := clock.Now()
	cluster, err := trail.ChooseCluster(ctx, l.Client, l.Cluster, trail.Span{From: now.Add(-26 * time.Hour), To: now}, now)
	var several *trail.ClusterError
	switch {
	case errors.As(err, &several):
		s.fail("cluster", "choose one with --cluster or GOLDTRAIL_CLUSTER; it is the Collector's K8S_CLUSTER_NAME", "%v", err)
		return
	case err != nil:
		s.fail("cluster", "Loki's own log says why", "%v", err)
		return
	}
	if cluster != "" {
		s.ok("cluster", "%s", cluster)
	}
	began := l.newest(ctx, s, cluster, now)
	if began {
		l.coverage(ctx, s, cluster, clock)
		l.silentNodes(ctx, s, cluster, now)
	}
}

// versionRemedy is for records that this command cannot read.
const versionRemedy = "the Collector and this command are of different versions: upgrade the older one; records of the other version stay in Loki, and no answer has them"

// newest checks how old the newest record of each stream is, and reports whether there is
// a trail.
func (l *Loki) newest(ctx context.Context, s *section, cluster string, now time.Time) bool {
	const remedy = "see the collector's checks (--collector, --collector-metrics), and that its exporter writes to this Loki and this tenant"
	for _, of := range recordsLooked {
		at, line, err := l.newestOf(ctx, of, cluster, now)
		age := now.Sub(at)
		switch {
		case err != nil:
			s.fail(of.stream, "Loki's own log says why", "%v", err)
		case at.IsZero() && of.stream == flowlog.StreamCoverage:
			s.fail(of.stream, remedy, "no record in the last %s: there is no trail, or none any more", span(of.back))
			return false
		case at.IsZero() && strings.HasPrefix(of.stream, flowlog.StreamEdges):
			s.skip(of.stream, "no rollup in the last %s: the first comes when an interval (quarter, hour, day; UTC) has passed, if the edges connector is in the pipeline", span(of.back))
		case at.IsZero():
			s.warn(of.stream, "see Goldmane's checks: do nodes report?", "no record in the last %s", span(of.back))
		case !strings.HasPrefix(line, flowlog.Version+" "):
			s.fail(of.stream, versionRemedy, "the newest record, of %s, is not of version %s of the trail's format, which this command reads: %.40q…", at.UTC().Format(time.RFC3339), flowlog.Version, line)
		case age > staleCoverage && of.stream == flowlog.StreamCoverage:
			s.fail(of.stream, remedy, "the newest record is of %s, %s ago: the Collector has stopped, or cannot write", at.UTC().Format(time.RFC3339), span(age))
		case age > of.fresh && of.stream == flowlog.StreamCoverage:
			s.warn(of.stream, remedy+"; with a 'flush_interval' of 300s a window is handed on 375 s after its start, and this is as it should be", "the newest record is of %s, %s ago", at.UTC().Format(time.RFC3339), span(age))
		case age > of.fresh:
			s.warn(of.stream, remedy, "the newest record is of %s, %s ago", at.UTC().Format(time.RFC3339), span(age))
		default:
			s.ok(of.stream, "the newest record is %s old", span(age))
		}
	}
	return true
}

// newestOf is a stream's newest record and its time, zero if there is none.
func (l *Loki) newestOf(ctx context.Context, of recordsOf, cluster string, now time.Time) (newest time.Time, line string, err error) {
	parameters := url.Values{
		"query": {trail.Selector(of.stream, cluster) + of.filter}, "limit": {"1"}, "direction": {"backward"},
		"start": {strconv.FormatInt(now.Add(-of.back).UnixNano(), 10)}, "end": {strconv.FormatInt(now.Add(time.Minute).UnixNano(), 10)},
	}
	if l.Client.Asked != nil {
		l.Client.Asked("/loki/api/v1/query_range", parameters)
	}
	r, err := l.get(ctx, "/loki/api/v1/query_range", parameters)
	if err != nil {
		return time.Time{}, "", err
	}
	if r.status != http.StatusOK {
		return time.Time{}, "", errors.New(r.said())
	}
	var answer struct {
		Data struct {
			Result []struct {
				Values [][]any `json:"values"` // time, line, and perhaps more
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(r.body, &answer); err != nil {
		return time.Time{}, "", fmt.Errorf("the answer of Loki: %w", err)
	}
	for _, stream := range answer.Data.Result {
		for _, value := range stream.Values {
			if len(value) < 2 {
				continue
			}
			ns, err := strconv.ParseInt(fmt.Sprint(value[0]), 10, 64)
			if err != nil {
				return time.Time{}, "", fmt.Errorf("the answer of Loki: %w", err)
			}
			if at := time.Unix(0, ns); at.After(newest) {
				newest, line = at, fmt.Sprint(value[1])
			}
		}
	}
	return newest, line, nil
}

// coverage checks how complete the last hour is.
func (l *Loki) coverage(ctx context.Context, s *section, cluster string, clock clockwork.Clock) {
	const name = "last hour"
	now := clock.Now()
	t := &trail.Trail{Source: l.Client, Cluster: cluster, Clock: clock}
	answer, err := t.Coverage(ctx, trail.Span{From: now.Add(-time.Hour), To: now})
	var nothing *trail.NoDataError
	switch {
	case errors.As(err, &nothing):
		s.fail(name, "is the Collector running?", "%v", err)
		return
	case err != nil:
		s.fail(name, "Loki's own log says why", "%v", err)
		return
	}
	c := &answer.Coverage
	if c.Incomplete() == 0 {
		s.ok(name, "all of %d windows complete", c.Windows)
		return
	}
	var holes []string
	for i := range c.Holes {
		h := &c.Holes[i]
		if h.Status == trail.StatusBefore || h.Status == trail.StatusPending {
			continue
		}
		text := fmt.Sprintf("%s–%s %s", h.From.UTC().Format("15:04:05"), h.To.UTC().Format("15:04:05Z"), h.Status)
		if h.Cause != "" {
			text += " (" + h.Cause + ")"
		}
		holes = append(holes, text)
	}
	const shown = 3
	if more := len(holes) - shown; more > 0 {
		holes = append(holes[:shown], fmt.Sprintf("and %d more", more))
	}
	remedy := "`goldtrail coverage --since 1h` lists them; docs/trail-format.md says what the causes mean"
	if slices.ContainsFunc(c.Holes, func(h trail.Hole) bool { return h.Cause == trail.CauseVersion }) {
		remedy = versionRemedy + "; " + remedy
	}
	s.warn(name, remedy, "%d of %d windows complete; %s", c.Complete, c.Windows, strings.Join(holes, ", "))
}
