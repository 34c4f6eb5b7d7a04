package trail

import "context"

// CoverageAnswer is how complete the trail is.
type CoverageAnswer struct {
	Cluster  string   `json:"cluster"`
	Coverage Coverage `json:"coverage"`
}

// Coverage answers how complete the trail is in a span. Whole days and hours of which a
// rollup says that all their windows were complete are taken at its word; the others are
// read window by window. Of those, the ones that no rollup sums up must have flow records.
func (t *Trail) Coverage(ctx context.Context, span Span) (*CoverageAnswer, error) {
	all, begin, err := t.started(ctx, alignedTo(span))
	if err != nil {
		return nil, err
	}
	l := newLedger()
	rest := []interval{{max(all.from, begin), all.to}}
	rolled := make(map[interval]int64)
	for _, length := range []int64{day, hour} {
		if rest, err = t.wholeIntervals(ctx, l, length, rest, rolled); err != nil {
			return nil, err
		}
	}
	if err := t.readCoverage(ctx, l, rest); err != nil {
		return nil, err
	}
	gone, err := t.gone(ctx, l, outside(rest, l.summedUp(rolled)))
	if err != nil {
		return nil, err
	}
	if gone, err = t.withoutQuarters(ctx, l, gone, all.to); err != nil {
		return nil, err
	}
	for _, i := range gone {
		t.lose(l, i)
	}
	return &CoverageAnswer{t.Cluster, l.coverage(all.from, all.to, begin, t.Clock.Now().Unix())}, nil
}

// wholeIntervals notes the intervals of a length that are complete, and returns the rest.
// Of intervals that are not it notes how many complete windows their rollups know of.
func (t *Trail) wholeIntervals(ctx context.Context, l *ledger, length int64, list []interval, rolled map[interval]int64) ([]interval, error) {
	starts := wholeStarts(list, length)
	if len(starts) == 0 {
		return list, nil
	}
	r, err := t.readRollups(ctx, nil, length, starts)
	if err != nil {
		return nil, err
	}
	rest, _ := without(r.noteForeign(l, length, list), length, func(start int64) bool {
		c, i := r.closed[start], interval{start, start + length}
		switch {
		case c.Total == 0:
			return false
		case c.Complete < c.Total:
			rolled[i] = c.Complete
			return false
		}
		l.window = length / c.Total
		l.whole = append(l.whole, i)
		return true
	})
	return rest, nil
}

// summedUp are the intervals whose rollups answer for them, though not all of their windows
// are complete: those that know of as many complete windows as there are.
func (l *ledger) summedUp(rolled map[interval]int64) (list []interval) {
	for i, known := range rolled {
		complete := l.complete(i)
		for _, w := range l.whole {
			complete += max(min(w.to, i.to)-max(w.from, i.from), 0) / l.window
		}
		if known >= complete {
			list = append(list, i)
		}
	}
	return list
}

// withoutQuarters takes out of what is gone the quarters of hours until to that rollups
// sum up.
func (t *Trail) withoutQuarters(ctx context.Context, l *ledger, gone []interval, to int64) ([]interval, error) {
	var starts []int64
	for _, i := range gone {
		end := (i.to + quarter - 1) / quarter * quarter
		starts = append(starts, wholeStarts([]interval{{i.from, min(end, to)}}, quarter)...)
	}
	if len(starts) == 0 {
		return gone, nil
	}
	r, err := t.readRollups(ctx, nil, quarter, starts)
	if err != nil {
		return nil, err
	}
	rolled := make(map[interval]int64)
	for start, c := range r.closed {
		rolled[interval{start, start + quarter}] = c.Complete
	}
	return outside(gone, l.summedUp(rolled)), nil
}

// outside is what of a list of intervals is in none of others.
func outside(list, others []interval) []interval {
	others = merged(others)
	var rest []interval
	for _, i := range list {
		for _, o := range others {
			if o.to <= i.from || i.to <= o.from {
				continue
			}
			if i.from < o.from {
				rest = append(rest, interval{i.from, o.from})
			}
			i.from = o.to
		}
		if i.from < i.to {
			rest = append(rest, i)
		}
	}
	return rest
}
