package trail

import (
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
	// Begin is when the trail begins, zero if there is none at all.
	Begin time.Time
}

func (e *NoDataError) Error() string {
	asked := fmt.Sprintf("%s to %s", e.Span.From.UTC().Format(time.RFC3339), e.Span.To.UTC().Format(time.RFC3339))
	if e.Begin.IsZero() {
		return fmt.Sprintf("the trail of cluster %q has nothing from %s, nor after: check that the collector writes to this Loki (its exporter's endpoint and tenant), and the cluster's name", e.Cluster, asked)
	}
	return fmt.Sprintf("the trail of cluster %q has nothing from %s: it begins at %s; ask for a later time", e.Cluster, asked, e.Begin.UTC().Format(time.RFC3339))
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

// started returns when the trail begins, if that is in the interval; its start if the
// trail began before, and NoDataError if there is nothing.
func (t *Trail) started(ctx context.Context, i interval) (int64, error) {
	span := unix(i.from, i.to)
	at, ok, err := t.Source.Begin(ctx, t.Cluster, span)
	if err != nil {
		return 0, err
	}
	if !ok {
		missing := &NoDataError{Cluster: t.Cluster, Span: span}
		if now := t.Clock.Now(); span.To.Before(now) {
			if missing.Begin, _, err = t.Source.Begin(ctx, t.Cluster, Span{span.To, now}); err != nil {
				return 0, err
			}
		}
		return 0, missing
	}
	if at.Before(span.From) {
		at = span.From
	}
	first, err := t.first(ctx, Span{at, span.To})
	if err != nil || !first.After(span.From) {
		return i.from, err
	}
	before, ok, err := t.Source.Begin(ctx, t.Cluster, Span{span.From.Add(-lookBack), span.From})
	if err != nil || ok && before.Before(span.From) {
		return i.from, err
	}
	return first.Unix() / defaultWindow * defaultWindow, nil
}

// first is the time of the first record of a window in the first hours of the span, or
// the span's start if there is none.
func (t *Trail) first(ctx context.Context, span Span) (time.Time, error) {
	const hours = 3 * time.Hour // more than what the index does not know exactly
	if span.To.Sub(span.From) > hours {
		span.To = span.From.Add(hours)
	}
	at := span.To
	for _, stream := range []string{flowlog.StreamCoverage, flowlog.StreamFlows} {
		q := &Question{Cluster: t.Cluster, Stream: stream, Spans: []Span{span}, Limit: 1}
		err := t.Source.Read(ctx, q, func(e *Entry) error {
			if e.Time.Before(at) {
				at = e.Time
			}
			return nil
		})
		if err != nil {
			return at, err
		}
	}
	if at.Equal(span.To) {
		return span.From, nil
	}
	return at, nil
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
	if err := t.Source.Read(ctx, q, l.add); err != nil {
		return err
	}
	// A gap's record has the time of its last window.
	last := q.Spans[len(q.Spans)-1].To
	q.Spans = []Span{{last, last.Add(gapsBeyond)}}
	q.Filter = " |= " + `"gap "`
	for _, i := range merged(list) {
		if end := unix(i.to, i.to+int64(gapsBeyond/time.Second)); end.To.Before(last) {
			q.Spans = append(q.Spans, end)
		}
	}
	return t.Source.Read(ctx, q, func(e *Entry) error {
		if !flowlog.IsGap(e.Line) {
			return nil
		}
		return l.add(e)
	})
}

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
