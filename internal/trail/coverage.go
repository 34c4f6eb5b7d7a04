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

// CauseGone is the cause of windows that had flow records which are gone: they were kept
// for a shorter time than their coverage. It is in no record.
const CauseGone = "records_gone"

// pending is how young a window is that need not be in the trail yet: the receiver reads
// it a minute after its start, and then it travels.
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
}

// Incomplete is how many windows may hide something.
func (c *Coverage) Incomplete() int64 { return c.Partial + c.Missing + c.Unrecorded }

// ledger collects what the trail says of windows.
type ledger struct {
	window  int64
	windows map[int64]flowlog.Coverage // by start
	gaps    []flowlog.Gap
	whole   []interval // all of whose windows are complete, by the rollups
}

// interval is a range in seconds since the epoch, to not in it.
type interval struct{ from, to int64 }

func newLedger() *ledger {
	return &ledger{window: defaultWindow, windows: make(map[int64]flowlog.Coverage)}
}

// add takes an entry of the coverage stream.
func (l *ledger) add(e *Entry) error {
	if flowlog.IsGap(e.Line) {
		g, err := flowlog.ParseGap(e.Line)
		if err == nil && !slices.Contains(l.gaps, g) {
			l.gaps = append(l.gaps, g)
		}
		return err
	}
	c, err := flowlog.ParseCoverage(e.Line)
	if err != nil {
		return err
	}
	if known, ok := l.windows[c.Start]; !ok || c.Final && !known.Final {
		l.windows[c.Start] = c
	}
	if c.End > c.Start {
		l.window = c.End - c.Start
	}
	return nil
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
		case status != StatusUnrecorded:
		case start < begin:
			status = StatusBefore
		case start+l.window > young:
			status = StatusPending
		}
		c.count(start, start+l.window, status, cause)
		start += l.window
	}
	c.Windows = c.Complete + c.Incomplete()
	if c.Windows > 0 {
		c.Percent = 100 * float64(c.Complete) / float64(c.Windows)
	}
	return c
}

func (l *ledger) status(start int64) (status, cause string) {
	if w, ok := l.windows[start]; ok {
		return w.Status, w.Cause
	}
	for i := range l.gaps {
		if l.gaps[i].From <= start && start < l.gaps[i].To {
			return flowlog.StatusMissing, l.gaps[i].Cause
		}
	}
	return StatusUnrecorded, ""
}

func (c *Coverage) count(from, to int64, status, cause string) {
	switch status {
	case flowlog.StatusComplete:
		c.Complete++
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
	start, end := time.Unix(from, 0).UTC(), time.Unix(to, 0).UTC()
	if n := len(c.Holes); n > 0 {
		if last := &c.Holes[n-1]; last.To.Equal(start) && last.Status == status && last.Cause == cause {
			last.To = end
			last.Windows++
			return
		}
	}
	c.Holes = append(c.Holes, Hole{From: start, To: end, Status: status, Cause: cause, Windows: 1})
}
