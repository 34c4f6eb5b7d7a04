package edgesconnector

import "github.com/goldtrail/goldtrail/internal/flowlog"

// window is what is remembered of one window: its records, so that each counts once, and
// whose reports there are, so that traffic counts once. Fields are exported for gob.
type window struct {
	Start, End int64
	Status     status
	Final      bool
	// Seen are the records' keys, until the window is Closed.
	Seen   keySet
	Closed bool
	// Present are the edges that have a record, Sourced those with one of the source.
	Present, Sourced bits
	// Waiting are the destination's reports of edges that had none of the source when they
	// came. It may still come, until the window is final.
	Waiting []waiting
}

// waiting is one record of the destination.
type waiting struct {
	Edge uint32
	flowlog.Counters
}

// verdict is what becomes of a record.
type verdict uint8

const (
	counts  verdict = iota // its counters count
	waits                  // they count if no report of the source comes
	covered                // a report of the source has counted them
)

// take notes a record that was not there before. first is whether it is the edge's first
// in the window.
func (w *window) take(edge uint32, o *observation) (v verdict, first bool) {
	first = w.Present.add(edge)
	switch {
	case o.fromSource:
		w.Sourced.add(edge)
		return counts, first
	case w.Sourced.has(edge):
		return covered, first
	case w.Final:
		return counts, first
	}
	w.Waiting = append(w.Waiting, waiting{edge, o.counters})
	return waits, first
}

// eachWaiting calls add with every record of the destination that no report of the source
// has counted.
func (w *window) eachWaiting(add func(edge uint32, s *flowlog.Sum)) {
	for i := range w.Waiting {
		if edge := w.Waiting[i].Edge; !w.Sourced.has(edge) {
			add(edge, &flowlog.Sum{Flows: 1, Counters: w.Waiting[i].Counters})
		}
	}
}

// conclude hands out what has waited: no report of the source comes any more.
func (w *window) conclude(add func(edge uint32, s *flowlog.Sum)) {
	w.eachWaiting(add)
	w.Waiting = nil
}

// close forgets the records' keys: none of them comes again.
func (w *window) close() { w.Seen, w.Closed = keySet{}, true }
