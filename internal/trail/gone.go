package trail

import (
	"context"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// gone returns what of some intervals, that are answered from flow records, has none any
// more, from the beginning of each: flow records need not be kept as long as coverage is,
// and what is kept for a time goes from its old end. So one window of each interval is
// looked at, the first that had records; only where it has none is the first one searched
// for that has.
func (t *Trail) gone(ctx context.Context, l *ledger, list []interval) ([]interval, error) {
	var first []int64
	open := map[int64]interval{}
	for _, i := range merged(list) {
		if starts := t.hadRecords(l, i); len(starts) > 0 {
			first = append(first, starts[0])
			open[starts[0]] = i
		}
	}
	there, err := t.haveRecords(ctx, l, first)
	if err != nil {
		return nil, err
	}
	var gone []interval
	for _, start := range first {
		if there[start] {
			continue
		}
		i := open[start]
		if i.to, err = t.endOfGone(ctx, l, i); err != nil {
			return nil, err
		}
		if i.from < i.to {
			gone = append(gone, i)
		}
	}
	return gone, nil
}

// endOfGone is the start of the first window of an interval that has records, its end if
// none has, and its start if nothing is gone: what has come down to us between windows
// without records was never written, or was taken out by other rules than age.
func (t *Trail) endOfGone(ctx context.Context, l *ledger, i interval) (int64, error) {
	const probes = 8 // at a time, so that five times are enough for 30,000 windows
	starts := t.hadRecords(l, i)
	none, some := 0, len(starts) // the window at none has no records, that at some has
	for some-none > 1 {
		var asked []int64
		step := max((some-none)/(probes+1), 1)
		for n := none + step; n < some; n += step {
			asked = append(asked, starts[n])
		}
		there, err := t.haveRecords(ctx, l, asked)
		if err != nil {
			return 0, err
		}
		low := none
		for n := low + step; n < some; n += step {
			if there[starts[n]] {
				some = n
				break
			}
			none = n
		}
	}
	end := i.to
	if some < len(starts) {
		end = starts[some]
	}
	before, err := t.holdsFlows(ctx, interval{max(i.from, end-day), end})
	if err != nil || before {
		return i.from, err
	}
	return end, nil
}

// hadRecords are the windows of an interval whose coverage says that they had records, in
// order. What is young may be on its way.
func (t *Trail) hadRecords(l *ledger, i interval) []int64 {
	young := t.Clock.Now().Add(-pending).Unix()
	var starts []int64
	for start := i.from; start < min(i.to, young); start += l.window {
		c, known := l.windows[start]
		if known && c.Cause != flowlog.CauseRejected && c.Cause != CauseGone && c.Records > 0 {
			starts = append(starts, start)
		}
	}
	return starts
}

// haveRecords reports which of some windows have a flow record.
func (t *Trail) haveRecords(ctx context.Context, l *ledger, starts []int64) (map[int64]bool, error) {
	there := make(map[int64]bool, len(starts))
	if len(starts) == 0 {
		return there, nil
	}
	q := &Question{Cluster: t.Cluster, Stream: flowlog.StreamFlows, Limit: 1}
	for _, start := range starts {
		q.Spans = append(q.Spans, unix(start, start+l.window))
	}
	err := t.Source.Read(ctx, q, func(e *Entry) error {
		there[e.Time.Unix()/l.window*l.window] = true
		return nil
	})
	return there, err
}

// holdsFlows reports whether there is a flow record in an interval.
func (t *Trail) holdsFlows(ctx context.Context, i interval) (there bool, err error) {
	q := &Question{Cluster: t.Cluster, Stream: flowlog.StreamFlows, Spans: []Span{unix(i.from, i.to)}, Limit: 1}
	err = t.Source.Read(ctx, q, func(*Entry) error {
		there = true
		return nil
	})
	return there, err
}

// noteGone notes which windows of some intervals, that are answered from flow records, have
// lost theirs.
func (t *Trail) noteGone(ctx context.Context, l *ledger, list []interval) error {
	gone, err := t.gone(ctx, l, list)
	for _, i := range gone {
		t.lose(l, i)
	}
	return err
}

// lose takes the windows of an interval that had records for missing.
func (t *Trail) lose(l *ledger, i interval) {
	for _, start := range t.hadRecords(l, i) {
		c := l.windows[start]
		c.Status, c.Cause = flowlog.StatusMissing, CauseGone
		l.windows[start] = c
	}
}
