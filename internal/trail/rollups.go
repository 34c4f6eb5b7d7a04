package trail

import (
	"context"
	"errors"
	"strings"

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
	// closed is what closes an interval, by start.
	closed map[int64]flowlog.Closing
	// lumped are the intervals in which edges that may be wanted are one, `* -> *`.
	lumped map[int64]bool
	// foreign counts the lines of an interval that cannot be read, by start.
	foreign map[int64]int64
	// all is whether every edge is among best, wanted or not.
	all bool
}

// readRollups reads the final rollups of intervals of a length that begin at starts: at
// least those that f wants, or, if f is nil, only what closes the intervals. A final rollup has a time
// in the last second of its interval, so one second of each is asked for: the last seconds
// of 90 days took half a second, while looking through 29 days of daily rollups took 1.2 s,
// because Loki takes a range apart by the hour.
func (t *Trail) readRollups(ctx context.Context, f *Filter, length int64, starts []int64) (*rollups, error) {
	r := &rollups{best: make(map[edgeInterval]flowlog.Rollup), closed: make(map[int64]flowlog.Closing), lumped: make(map[int64]bool), foreign: make(map[int64]int64)}
	q := &Question{Cluster: t.Cluster, Stream: rollupStream(length), Filter: containing(flowlog.ClosingText())}
	if f != nil {
		q.Filter = containing(flowlog.FinalText(), flowlog.ClosingText()) + f.ofRollups()
		r.all = f.ofRollups() == ""
	}
	for done, piece := range chunks(starts, 64) {
		t.progress("rollups", min(done*64, len(starts)), len(starts))
		q.Spans = nil
		for _, start := range piece {
			q.Spans = append(q.Spans, unix(start+length-1, start+length))
		}
		if err := t.Source.Read(ctx, q, func(e *Entry) error {
			r.take(e, length, f)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// take keeps what a line says: of several of one edge and interval, or that close one, the
// latest. First_seen events and provisional rollups are passed over.
func (r *rollups) take(e *Entry, length int64, f *Filter) {
	c, err := flowlog.ParseClosing(e.Line)
	if err == nil {
		if c.End-c.Start == length && c.Total > 0 && length%c.Total == 0 && c.Sequence >= r.closed[c.Start].Sequence {
			r.closed[c.Start] = c
		}
		return
	}
	if errors.Is(err, flowlog.ErrVersion) {
		if strings.Contains(e.Line, flowlog.FinalText()) || strings.Contains(e.Line, flowlog.ClosingText()) {
			r.foreign[e.Time.Unix()/length*length]++
		}
		return
	}
	line, err := flowlog.ParseRollup(e.Line)
	if err != nil || f == nil || !line.Final || line.End-line.Start != length {
		return
	}
	if line.Source == flowlog.OverflowIdentity && f.some() && f.wantsAction(line.Action) {
		r.lumped[line.Start] = true
	}
	key := edgeInterval{line.Edge, line.Start}
	if known, ok := r.best[key]; !ok || line.Sequence > known.Sequence {
		r.best[key] = line
	}
}

// noteForeign takes out of a list of intervals those of whose rollups none can be read, and
// notes them: their flow records are of another version too, and reading months of them
// would answer nothing.
func (r *rollups) noteForeign(l *ledger, length int64, list []interval) []interval {
	for _, lines := range r.foreign {
		l.unreadable += lines
	}
	rest, _ := without(list, length, func(start int64) bool {
		foreign := r.foreign[start] > 0 && r.closed[start].Total == 0
		if foreign {
			l.foreignRollups = append(l.foreignRollups, interval{start, start + length})
		}
		return foreign
	})
	return rest
}

// complete are the intervals whose rollups answer: closed, with as many edges as that says
// where all were read, and with none that hides some that may be wanted.
func (r *rollups) complete() map[int64]flowlog.Closing {
	edges := make(map[int64]int64)
	if r.all {
		for key := range r.best {
			edges[key.start]++
		}
	}
	complete := make(map[int64]flowlog.Closing, len(r.closed))
	for start, c := range r.closed {
		if !r.lumped[start] && (!r.all || edges[start] >= c.Edges) {
			complete[start] = c
		}
	}
	return complete
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
