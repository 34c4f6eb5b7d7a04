package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

const (
	// silentSample is how much of an hour is read to tell whether nodes are silent, and
	// silentHours how many hours back. What has lasted for a day the receiver no longer
	// marks, so that a node that never reports does not make a trail partial for ever; the
	// counts stay in the records.
	silentSample = 15 * time.Minute
	silentHours  = 26
)

// silence is what the coverage records of a while say of nodes that do not report.
type silence struct {
	windows, silent int // those recorded, and those of them in which nodes were silent
	pairs, oneSided int64
}

// lasting reports whether it was so in most windows: the flush that a single window lacks,
// or a node that starts, is no more than that.
func (q *silence) lasting() bool { return 2*q.silent > q.windows }

// isSilent is the rule of flowlog.CauseNodesSilent.
func isSilent(c *flowlog.Coverage) bool { return c.OneSided >= 3 && 10*c.OneSided > c.Pairs }

// silentNodes checks whether all nodes' reports reach Goldmane, and if not, since when.
func (l *Loki) silentNodes(ctx context.Context, s *section, cluster string, now time.Time) {
	const (
		name   = "silent nodes"
		remedy = silentRemedy + "; what its workloads receive shows as unconfirmed in `goldtrail edges --since 1h`"
	)
	sample := func(hour int) trail.Span {
		to := now.Add(-time.Duration(hour) * time.Hour)
		return trail.Span{From: to.Add(-silentSample), To: to}
	}
	found, err := l.silences(ctx, cluster, sample(0))
	if err != nil {
		s.fail(name, "Loki's own log says why", "%v", err)
		return
	}
	recent := found[0]
	switch {
	case recent.windows == 0:
		s.skip(name, "the trail says of no window of the last %s who has reported", span(silentSample))
		return
	case recent.pairs == 0:
		s.ok(name, "no two workloads sent each other packets in the last %s", span(silentSample))
		return
	}
	detail := fmt.Sprintf("of the pairs of workloads that sent packets in the last %s, %.0f %% were reported by one end only", span(silentSample), 100*float64(recent.oneSided)/float64(recent.pairs))
	switch {
	case recent.silent == 0:
		s.ok(name, "%s", detail)
		return
	case !recent.lasting():
		s.warn(name, remedy, "%s; nodes were silent in %d of %d windows", detail, recent.silent, recent.windows)
		return
	}
	earlier := make([]trail.Span, silentHours)
	for i := range earlier {
		earlier[i] = sample(i + 1)
	}
	found, err = l.silences(ctx, cluster, earlier...)
	if err != nil {
		s.fail(name, "Loki's own log says why", "%v", err)
		return
	}
	hours := 0
	for hours < len(found) && found[hours].lasting() {
		hours++
	}
	since := now.Add(-time.Duration(hours) * time.Hour).Add(-silentSample).UTC().Format(time.RFC3339)
	switch {
	case hours == 0:
		s.warn(name, remedy, "%s; that is so for less than an hour", detail)
	case hours < 24:
		s.warn(name, remedy, "%s; that is so since %s", detail, since)
	default:
		s.warn(name, remedy, "%s; that is so since %s or longer. After a day of it windows count as complete again, though what those nodes alone see is not in the trail", detail, since)
	}
}

// silences reads coverage records, and says for each span what they tell.
func (l *Loki) silences(ctx context.Context, cluster string, spans ...trail.Span) ([]silence, error) {
	windows := map[int64]flowlog.Coverage{} // by start
	q := &trail.Question{Cluster: cluster, Stream: flowlog.StreamCoverage, Spans: spans}
	err := l.Client.Read(ctx, q, func(e *trail.Entry) error {
		c, err := flowlog.ParseCoverage(e.Line)
		if err != nil {
			return nil //nolint:nilerr // a gap, or another version: other checks say so
		}
		if known, ok := windows[c.Start]; !ok || c.Final && !known.Final {
			windows[c.Start] = c
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found := make([]silence, len(spans))
	for start, c := range windows {
		for i, of := range spans {
			if at := time.Unix(start, 0); at.Before(of.From) || !at.Before(of.To) {
				continue
			}
			q := &found[i]
			q.windows++
			if isSilent(&c) {
				q.silent++
			}
			q.pairs += c.Pairs
			q.oneSided += c.OneSided
		}
	}
	return found, nil
}
