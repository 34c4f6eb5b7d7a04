package trail

import (
	"context"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

const (
	quarter = 900
	hour    = 4 * quarter
	day     = 24 * hour
)

// lengths are those of rollups, the longest first.
var lengths = []int64{day, hour, quarter}

// rollupStream is where rollups of a length stand.
func rollupStream(length int64) string {
	switch length {
	case day:
		return flowlog.StreamEdgesDaily
	case hour:
		return flowlog.StreamEdges
	}
	return flowlog.StreamEdgesQuarters
}

// edgeInterval is what a rollup is of.
type edgeInterval struct {
	edge  flowlog.Edge
	start int64
}

// rollups are those of some intervals of one length.
type rollups struct {
	best map[edgeInterval]flowlog.Rollup
	// covered is, by start, how many windows of an interval are complete, and how many it has.
	covered map[int64]covered
}

type covered struct{ complete, total int64 }

// readRollups reads the final rollups of intervals of a length that begin at starts: those
// that f wants, or, if f is nil, only what they say of coverage. A final rollup has a time
// in the last second of its interval, so one second of each is asked for: the last seconds of 90 days took half a second, while looking through 29 days
// of daily rollups took 1.2 s, because Loki takes a range apart by the hour.
func (t *Trail) readRollups(ctx context.Context, f *Filter, length int64, starts []int64) (*rollups, error) {
	r := &rollups{best: make(map[edgeInterval]flowlog.Rollup), covered: make(map[int64]covered)}
	take := func(wanted *Filter) func(e *Entry) error {
		return func(e *Entry) error {
			line, err := flowlog.ParseRollup(e.Line)
			if err != nil {
				return nil //nolint:nilerr // a first_seen event, or a record of a later version
			}
			r.take(&line, length, wanted)
			return nil
		}
	}
	final := " |= " + `"` + flowlog.FinalText() + `"`
	q := &Question{Cluster: t.Cluster, Stream: rollupStream(length)}
	all := f != nil && f.ofRollups() == ""
	if f != nil {
		q.Filter = final + f.ofRollups()
		for done, piece := range chunks(starts, 64) {
			t.progress("rollups", min(done*64, len(starts)), len(starts))
			q.Spans = nil
			for _, start := range piece {
				q.Spans = append(q.Spans, unix(start+length-1, start+length))
			}
			if err := t.Source.Read(ctx, q, take(f)); err != nil {
				return nil, err
			}
		}
	}
	// Intervals in which nothing matched: are there rollups at all?
	q.Filter, q.Limit, q.Spans = final, 1, nil
	for _, start := range starts {
		if _, known := r.covered[start]; !known {
			q.Spans = append(q.Spans, unix(start+length-1, start+length))
		}
	}
	if len(q.Spans) > 0 && !all {
		t.progress("rollups", len(starts)-len(q.Spans), len(starts))
		if err := t.Source.Read(ctx, q, take(nil)); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// take keeps a rollup if it is final and the latest of its edge and interval, and if f,
// where it is not nil, wants its edge.
func (r *rollups) take(line *flowlog.Rollup, length int64, f *Filter) {
	if !line.Final || line.End-line.Start != length {
		return
	}
	c := r.covered[line.Start]
	r.covered[line.Start] = covered{max(c.complete, line.Complete), max(c.total, line.Total)}
	if f == nil || !f.Matches(&line.Edge) {
		return
	}
	key := edgeInterval{line.Edge, line.Start}
	if known, ok := r.best[key]; !ok || line.Sequence > known.Sequence {
		r.best[key] = *line
	}
}

// chunks yields pieces of at most n, numbered.
func chunks(list []int64, n int) func(yield func(int, []int64) bool) {
	return func(yield func(int, []int64) bool) {
		for i := 0; len(list) > 0; i++ {
			piece := list[:min(n, len(list))]
			list = list[len(piece):]
			if !yield(i, piece) {
				return
			}
		}
	}
}

// wholeStarts are the starts of the whole intervals of a length in a list of intervals.
func wholeStarts(list []interval, length int64) []int64 {
	var starts []int64
	for _, i := range list {
		for start := (i.from + length - 1) / length * length; start+length <= i.to; start += length {
			starts = append(starts, start)
		}
	}
	return starts
}

// without takes the whole intervals of a length that are used out of a list of intervals,
// and returns what is left, and how many they were.
func without(list []interval, length int64, used func(start int64) bool) (rest []interval, n int) {
	for _, i := range list {
		for _, start := range wholeStarts([]interval{i}, length) {
			if !used(start) {
				continue
			}
			n++
			if i.from < start {
				rest = append(rest, interval{i.from, start})
			}
			i.from = start + length
		}
		if i.from < i.to {
			rest = append(rest, i)
		}
	}
	return rest, n
}
