package trail

import "context"

// CoverageAnswer is how complete the trail is.
type CoverageAnswer struct {
	Cluster  string   `json:"cluster"`
	Coverage Coverage `json:"coverage"`
}

// Coverage answers how complete the trail is in a span. Whole days and hours of which a
// rollup says that all their windows were complete are taken at its word; the others are
// read window by window.
func (t *Trail) Coverage(ctx context.Context, span Span) (*CoverageAnswer, error) {
	all := alignedTo(span)
	begin, err := t.started(ctx, all)
	if err != nil {
		return nil, err
	}
	l := newLedger()
	rest := []interval{{max(all.from, begin), all.to}}
	for _, length := range []int64{day, hour} {
		if rest, err = t.wholeIntervals(ctx, l, length, rest); err != nil {
			return nil, err
		}
	}
	if err := t.readCoverage(ctx, l, rest); err != nil {
		return nil, err
	}
	return &CoverageAnswer{t.Cluster, l.coverage(all.from, all.to, begin, t.Clock.Now().Unix())}, nil
}

// wholeIntervals notes the intervals of a length that are complete, and returns the rest.
func (t *Trail) wholeIntervals(ctx context.Context, l *ledger, length int64, list []interval) ([]interval, error) {
	starts := wholeStarts(list, length)
	if len(starts) == 0 {
		return list, nil
	}
	r, err := t.readRollups(ctx, nil, length, starts)
	if err != nil {
		return nil, err
	}
	rest, _ := without(list, length, func(start int64) bool {
		c := r.closed[start]
		if c.Total == 0 || c.Complete < c.Total {
			return false
		}
		l.window = length / c.Total
		l.whole = append(l.whole, interval{start, start + length})
		return true
	})
	return rest, nil
}
