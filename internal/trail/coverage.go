package trail

import (
	"cmp"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// defaultWindow is Goldmane's window in seconds, for a trail that does not say.
const defaultWindow = 15

// Statuses of windows, beside flowlog's complete, partial and missing.
const (
	// StatusUnrecorded: the trail says nothing of the window, neither that it was read nor
	// that it was lost.
	StatusUnrecorded = "unrecorded"
	// StatusBefore: the window is older than the trail.
	StatusBefore = "before_trail"
	// StatusPending: the window is so young that it need not have been read yet.
	StatusPending = "pending"
)

// Causes that are in no record.
const (
	// CauseGone is the cause of windows that had flow records which are gone: they were
	// kept for a shorter time than their coverage.
	CauseGone = "records_gone"
	// CauseVersion is the cause of windows whose records are of another version of the
	// trail's format.
	CauseVersion = "other_version"
)

// pending is how young a window is that need not be in the trail yet: with Felix's default
// flush interval the receiver hands it on 75 s after its start, and then it travels.
const pending = 2 * time.Minute

// Coverage is how complete an answer is.
type Coverage struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// WindowSeconds is the length of a window.
	WindowSeconds int64 `json:"window_seconds"`
	// Windows are those of the range that can be complete: not those before the trail
	// began, and not those that are too young.
	Windows    int64 `json:"windows"`
	Complete   int64 `json:"complete"`
	Partial    int64 `json:"partial"`
	Missing    int64 `json:"missing"`
	Unrecorded int64 `json:"unrecorded"`
	// Before and Pending are windows that do not count.
	Before  int64 `json:"before_trail"`
	Pending int64 `json:"pending"`
	// Provisional are those of the complete windows that will be looked at once more: flows
	// that come late, or could not be decided yet, may still be to come.
	Provisional int64 `json:"provisional"`
	// Unreadable are records that this reader cannot read, and that the answer lacks: those
	// of another version of the trail's format.
	Unreadable int64 `json:"unreadable_records"`
	// Percent is the share of Windows that are complete; 0 where there are none.
	Percent float64 `json:"percent"`
	// Holes are the runs of windows that are not complete, in order.
	Holes []Hole `json:"holes"`
}

// Hole is a run of windows with one status and cause.
type Hole struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Status  string    `json:"status"`
	Cause   string    `json:"cause,omitempty"`
	Windows int64     `json:"windows"`
	// Pairs are the pairs of workloads that sent packets, OneSided those of them that one
	// end only had reported at first: of windows whose cause is nodes_silent.
	Pairs    int64 `json:"pairs,omitempty"`
	OneSided int64 `json:"one_sided,omitempty"`
}

func hole(from, to int64, status, cause string, windows int64) Hole {
	return Hole{From: time.Unix(from, 0).UTC(), To: time.Unix(to, 0).UTC(), Status: status, Cause: cause, Windows: windows}
}

// Incomplete is how many windows may hide something.
func (c *Coverage) Incomplete() int64 { return c.Partial + c.Missing + c.Unrecorded }

// ledger collects what the trail says of windows.
type ledger struct {
	window  int64
	windows map[int64]flowlog.Coverage // by start
	gaps    []flowlog.Gap
	whole   []interval // all of whose windows are complete, by the rollups

	// foreign are the windows, by start, of which a record cannot be read, with the lines of
	// the coverage stream among these. foreignRollups are intervals of whose rollups none can.
	foreign        map[int64][]string
	foreignRollups []interval
	// unreadable counts the records of the other streams that cannot be read.
	unreadable int64
}

// interval is a range in seconds since the epoch, to not in it.
type interval struct{ from, to int64 }

func newLedger() *ledger {
	return &ledger{window: defaultWindow, windows: make(map[int64]flowlog.Coverage), foreign: make(map[int64][]string)}
}

// take is add for Source.Read.
func (l *ledger) take(e *Entry) error {
	l.add(e)
	return nil
}

// add takes an entry of the coverage stream, which may be added again.
func (l *ledger) add(e *Entry) {
	if flowlog.IsGap(e.Line) {
		if g, err := flowlog.ParseGap(e.Line); err == nil {
			if !slices.Contains(l.gaps, g) {
				l.gaps = append(l.gaps, g)
			}
			return
		}
	}
	c, err := flowlog.ParseCoverage(e.Line)
	if err != nil {
		// Its time is the start of its window, or of the last one of its gap.
		if start := e.Time.Unix(); !slices.Contains(l.foreign[start], e.Line) {
			l.foreign[start] = append(l.foreign[start], e.Line)
		}
		return
	}
	if known, ok := l.windows[c.Start]; !ok || c.Final && !known.Final {
		l.windows[c.Start] = c
	}
	if c.End > c.Start {
		l.window = c.End - c.Start
	}
}

// lacks notes flow records that cannot be read, by their time in seconds since the epoch.
func (l *ledger) lacks(at, records int64) {
	start := at / l.window * l.window
	if _, known := l.foreign[start]; !known {
		l.foreign[start] = nil
	}
	l.unreadable += records
}

// complete is how many windows of the interval are complete by their own records.
func (l *ledger) complete(i interval) int64 {
	n := int64(0)
	for start := i.from; start < i.to; start += l.window {
		if l.windows[start].Status == flowlog.StatusComplete {
			n++
		}
	}
	return n
}

// coverage says how complete [from, to) is. begin is when the trail begins, now the
// present, both in seconds since the epoch.
func (l *ledger) coverage(from, to, begin, now int64) Coverage {
	c := Coverage{From: time.Unix(from, 0).UTC(), To: time.Unix(to, 0).UTC(), WindowSeconds: l.window, Holes: []Hole{}}
	young := now - int64(pending/time.Second)
	slices.SortFunc(l.whole, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	whole := l.whole
	l.foreignRollups = merged(l.foreignRollups)
	for start := from; start < to; {
		for len(whole) > 0 && whole[0].to <= start {
			whole = whole[1:]
		}
		if len(whole) > 0 && whole[0].from <= start {
			end := min(whole[0].to, to)
			c.Complete += (end - start) / l.window
			start = end
			continue
		}
		status, cause := l.status(start)
		switch {
		case status != StatusUnrecorded || cause != "":
		case start < begin:
			status = StatusBefore
		case start+l.window > young:
			status = StatusPending
		}
		c.count(l, start, status, cause)
		start += l.window
	}
	c.Unreadable = l.unreadable
	for _, lines := range l.foreign {
		c.Unreadable += int64(len(lines))
	}
	c.Windows = c.Complete + c.Incomplete()
	if c.Windows > 0 {
		c.Percent = 100 * float64(c.Complete) / float64(c.Windows)
	}
	return c
}

// status is what is known of a window. One with records that cannot be read is not whole.
func (l *ledger) status(start int64) (status, cause string) {
	_, foreign := l.foreign[start]
	if w, ok := l.windows[start]; ok {
		if foreign && w.Status == flowlog.StatusComplete {
			return flowlog.StatusPartial, CauseVersion
		}
		return w.Status, w.Cause
	}
	for i := range l.gaps {
		if l.gaps[i].From <= start && start < l.gaps[i].To {
			return flowlog.StatusMissing, l.gaps[i].Cause
		}
	}
	if foreign || slices.ContainsFunc(l.foreignRollups, func(i interval) bool { return i.from <= start && start < i.to }) {
		return StatusUnrecorded, CauseVersion
	}
	return StatusUnrecorded, ""
}

// count adds the window that begins at start.
func (c *Coverage) count(l *ledger, start int64, status, cause string) {
	w := l.windows[start]
	switch status {
	case flowlog.StatusComplete:
		c.Complete++
		if !w.Final {
			c.Provisional++
		}
		return
	case flowlog.StatusPartial:
		c.Partial++
	case flowlog.StatusMissing:
		c.Missing++
	case StatusBefore:
		c.Before++
	case StatusPending:
		c.Pending++
	default:
		c.Unrecorded++
	}
	h := hole(start, start+l.window, status, cause, 1)
	if cause == flowlog.CauseNodesSilent {
		h.Pairs, h.OneSided = w.Pairs, w.OneSided
	}
	if n := len(c.Holes); n > 0 {
		if last := &c.Holes[n-1]; last.To.Equal(h.From) && last.Status == status && last.Cause == cause {
			last.To = h.To
			last.Windows++
			last.Pairs += h.Pairs
			last.OneSided += h.OneSided
			return
		}
	}
	c.Holes = append(c.Holes, h)
}
