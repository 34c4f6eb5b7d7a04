package trail

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// question is what the verbs that sum up have in common.
type question struct {
	interval
	filter *Filter
	// coarsest is the longest interval whose rollups will do, or 0 for flow records only.
	coarsest int64
}

// sums are what the trail says of edges in an interval.
type sums struct {
	// parts are rollups of whole days, hours and quarters, as the connector wrote them, and
	// sums of flow records for the rest, of an hour at most.
	parts    []flowlog.Rollup
	coverage Coverage
	read     Read
}

// Read says what an answer was made of.
type Read struct {
	Days  int `json:"daily_rollups"`
	Hours int `json:"hourly_rollups"`
	// Quarters are of the hour.
	Quarters int `json:"quarter_rollups"`
	// RawSeconds is how much of the range was summed up from flow records, Records how many
	// these were.
	RawSeconds int64 `json:"raw_seconds"`
	Records    int64 `json:"flow_records"`
}

// sum reads rollups where they cover whole days, hours and quarters, and flow records for
// the rest.
func (t *Trail) sum(ctx context.Context, q *question) (*sums, error) {
	var begin int64
	var err error
	if q.interval, begin, err = t.started(ctx, q.interval); err != nil {
		return nil, err
	}
	s := &sums{}
	l := newLedger()
	rest := []interval{{max(q.from, begin), q.to}}
	for _, length := range lengths {
		if length > q.coarsest {
			continue
		}
		if rest, err = t.sumRollups(ctx, q, s, l, length, rest); err != nil {
			return nil, err
		}
	}
	if err := t.readCoverage(ctx, l, rest); err != nil {
		return nil, err
	}
	if err := t.sumFlows(ctx, q, s, l, rest); err != nil {
		return nil, err
	}
	s.coverage = l.coverage(q.from, q.to, begin, t.Clock.Now().Unix())
	return s, nil
}

// sumRollups adds the rollups of one length, and returns what they do not cover.
func (t *Trail) sumRollups(ctx context.Context, q *question, s *sums, l *ledger, length int64, list []interval) ([]interval, error) {
	starts := wholeStarts(list, length)
	if len(starts) == 0 {
		return list, nil
	}
	r, err := t.readRollups(ctx, q.filter, length, starts)
	if err != nil {
		return nil, err
	}
	list = r.noteForeign(l, length, list)
	starts = wholeStarts(list, length)
	closed := r.complete()
	var doubtful []interval
	for _, start := range starts {
		switch c := closed[start]; {
		case c.Total == 0:
		case c.Complete == c.Total:
			l.window = length / c.Total
			l.whole = append(l.whole, interval{start, start + length})
		default:
			doubtful = append(doubtful, interval{start, start + length})
		}
	}
	if err := t.readCoverage(ctx, l, doubtful); err != nil {
		return nil, err
	}
	used := map[int64]bool{}
	for _, i := range l.whole {
		used[i.from] = i.to-i.from == length
	}
	for _, i := range doubtful {
		// The connector must have known of as many complete windows as there are: one that
		// was added in the middle of an interval, or lost its state, has summed up less.
		used[i.from] = closed[i.from].Complete >= l.complete(i)
	}
	for key, rollup := range r.best {
		if used[key.start] && q.filter.Matches(&key.edge) {
			s.parts = append(s.parts, rollup)
		}
	}
	rest, n := without(list, length, func(start int64) bool { return used[start] })
	switch length {
	case day:
		s.read.Days += n
	case hour:
		s.read.Hours += n
	default:
		s.read.Quarters += n
	}
	return rest, nil
}

// sumFlows adds what flow records say, hour by hour.
func (t *Trail) sumFlows(ctx context.Context, q *question, s *sums, l *ledger, list []interval) error {
	if err := t.noteGone(ctx, l, list); err != nil {
		return err
	}
	var hours []interval
	for _, i := range merged(list) {
		s.read.RawSeconds += i.to - i.from
		for i.from < i.to {
			end := min((i.from/hour+1)*hour, i.to)
			hours = append(hours, interval{i.from, end})
			i.from = end
		}
	}
	for n, i := range hours {
		t.progress("flow records", n, len(hours))
		a := newAdder(l.window, i)
		read := &Question{Cluster: t.Cluster, Stream: flowlog.StreamFlows, Filter: thatCount + q.filter.ofFlows() + keptForSums, Spans: []Span{unix(i.from, i.to)}}
		err := t.Source.Read(ctx, read, func(e *Entry) error {
			flow, err := ParseFlow(e)
			switch {
			case err != nil:
				l.lacks(e.Time.Unix(), 1) // it is said
			case flow.Counts && q.filter.MatchesFlow(&flow):
				s.read.Records++
				a.add(&flow)
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.parts = append(s.parts, a.parts()...)
		if len(a.edges) == 0 {
			if err := t.checkThere(ctx, l, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkThere notes an interval as gone whose coverage says that it had records, and that
// has none, wherever it is.
func (t *Trail) checkThere(ctx context.Context, l *ledger, i interval) error {
	if len(t.hadRecords(l, i)) == 0 {
		return nil
	}
	there, err := t.holdsFlows(ctx, i)
	if err == nil && !there {
		t.lose(l, i)
	}
	return err
}

// adder sums flow records of an interval up by edge: those that count.
type adder struct {
	window int64
	interval
	edges map[flowlog.Edge]*edgeSum
}

// edgeSum is what was seen of an edge.
type edgeSum struct {
	sum     flowlog.Sum
	windows map[int64]struct{} // by start
	hits    map[string]struct{}
}

func newAdder(window int64, i interval) *adder {
	return &adder{window, i, make(map[flowlog.Edge]*edgeSum)}
}

func (a *adder) add(f *Flow) {
	e := a.edges[f.Edge]
	if e == nil {
		e = &edgeSum{windows: make(map[int64]struct{}), hits: make(map[string]struct{})}
		a.edges[f.Edge] = e
	}
	e.sum.Add(&flowlog.Sum{Flows: 1, Counters: f.Counters})
	e.windows[f.Time.Unix()/a.window*a.window] = struct{}{}
	if f.Deciding != "" {
		e.hits[f.Deciding] = struct{}{}
	}
}

// parts are the sums as rollups.
func (a *adder) parts() []flowlog.Rollup {
	list := make([]flowlog.Rollup, 0, len(a.edges))
	for edge, e := range a.edges {
		r := flowlog.Rollup{Edge: edge, Start: a.from, End: a.to, Sum: e.sum, Windows: int64(len(e.windows)), First: math.MaxInt64}
		for start := range e.windows {
			r.First, r.Last = min(r.First, start), max(r.Last, start+a.window)
		}
		r.Policies = slices.Sorted(maps.Keys(e.hits))
		list = append(list, r)
	}
	return list
}

// alignedTo widens a span to whole windows.
func alignedTo(span Span) interval {
	from := span.From.Truncate(defaultWindow * time.Second).Unix()
	to := span.To.Truncate(defaultWindow * time.Second)
	if to.Before(span.To) {
		to = to.Add(defaultWindow * time.Second)
	}
	return interval{from, to.Unix()}
}
