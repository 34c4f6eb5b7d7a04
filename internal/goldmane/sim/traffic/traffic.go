package traffic

import (
	"math"
	"sync"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Traffic is a Config's. It may be used concurrently.
type Traffic struct {
	seed    uint64
	window  int64 // nanoseconds, as all times that are numbers
	nodes   []*node
	pairs   []*pair
	passing []Passing
	bounds

	mu   sync.Mutex
	made map[epoch][]*pair // guarded by mu
}

// bounds are the time in which something may be sent.
type bounds struct{ begin, end int64 }

func newBounds(begin, end time.Time) bounds {
	b := bounds{math.MinInt64, math.MaxInt64}
	if !begin.IsZero() {
		b.begin = begin.UnixNano()
	}
	if !end.IsZero() {
		b.end = end.UnixNano()
	}
	return b
}

func (b bounds) and(o bounds) bounds { return bounds{max(b.begin, o.begin), min(b.end, o.end)} }

func (b bounds) has(t int64) bool { return b.begin <= t && t < b.end }

// New is the traffic that c describes.
func New(c Config) *Traffic {
	if c.Window == 0 {
		c.Window = 15 * time.Second
	}
	t := &Traffic{seed: c.Seed, window: int64(c.Window), passing: c.Passing, bounds: newBounds(c.Begin, c.End), made: make(map[epoch][]*pair)}
	for _, n := range c.Nodes {
		t.nodes = append(t.nodes, newNode(n, c.Seed, c.Window))
	}
	for i := range c.Pairs {
		t.pairs = append(t.pairs, t.newPair(&c.Pairs[i], t.bounds, false))
	}
	return t
}

// live calls f with every pair that may send or be reported in [from, to]: the lasting
// ones first, then the passing ones by their epochs.
func (t *Traffic) live(from, to int64, f func(*pair)) {
	for _, p := range t.pairs {
		f(p)
	}
	for kind := range t.passing {
		span := t.passing[kind].Span * t.window
		// What passes is reported for a window after.
		for n := floorDiv(from-t.window, span); n*span <= to; n++ {
			for _, p := range t.epoch(kind, n) {
				f(p)
			}
		}
	}
}

// epoch is one kind's pairs of one epoch. Those of the last few are kept: whoever reads
// window by window meets each of them several times.
func (t *Traffic) epoch(kind int, n int64) []*pair {
	span := t.passing[kind].Span * t.window
	within := t.and(bounds{n * span, (n + 1) * span})
	if within.begin >= within.end {
		return nil
	}
	t.mu.Lock()
	made, ok := t.made[epoch{kind, n}]
	t.mu.Unlock()
	if ok {
		return made
	}
	pairs := t.passing[kind].Pairs(n)
	for i := range pairs {
		made = append(made, t.newPair(&pairs[i], within, true))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.made) >= keptEpochs {
		clear(t.made)
	}
	t.made[epoch{kind, n}] = made
	return made
}

type epoch struct {
	kind int
	n    int64
}

const keptEpochs = 64

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Arrival is one flow of one node that reaches Goldmane. Flows share their keys and
// labels, which must not be changed.
type Arrival struct {
	Flow *goldmane.Flow
	Node string
	At   time.Time
}

// Arrivals is all that reaches Goldmane in [from, to), in order. What is asked for in
// pieces is the same.
func (t *Traffic) Arrivals(from, to time.Time) []Arrival {
	views := make([]view, len(t.nodes))
	for i, n := range t.nodes {
		views[i] = n.arriving(from.UnixNano(), to.UnixNano())
	}
	return t.gather(views)
}

// Stamped is the flows that carry a start in the seconds [from, to), each as it reaches
// Goldmane for the first time, in the order in which they do.
func (t *Traffic) Stamped(from, to int64) []Arrival {
	views := make([]view, len(t.nodes))
	for i, n := range t.nodes {
		views[i] = n.stamped(from, to)
	}
	return t.gather(views)
}
