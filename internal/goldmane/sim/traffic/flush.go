package traffic

import (
	"math"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Felix's timing: from one flush to the next it takes the interval and up to a tenth of
// it more.
const (
	pace = 1.05 // the mean, in intervals
	// flutter moves a single flush, wander all of them together over many flushes: the
	// jitter of a real node adds up, so that two nodes do not keep their distance.
	// Together they leave [1, 1.1] between two.
	flutter = 0.02
	wander  = 0.03 * (1 << wanderBits)

	wanderBits = 6

	defaultLag = 0.01
	// resent is how many windows a node that was cut off sends again.
	resent = 20
)

// node is a Node with what follows from it, in nanoseconds.
type node struct {
	Node
	seed     uint64
	window   int64
	interval float64
}

func newNode(n Node, seed uint64, window time.Duration) *node {
	if n.Interval == 0 {
		n.Interval = 1
	}
	if n.Lag == 0 {
		n.Lag = defaultLag
	}
	return &node{
		Node: n, seed: hashString(seed, n.Name), window: int64(window),
		interval: n.Interval * float64(window),
	}
}

// at is when the node makes its jth flush since 1970.
func (n *node) at(j int64) int64 {
	cell := j >> wanderBits
	into := float64(j&(1<<wanderBits-1)) / (1 << wanderBits)
	drift := unit(n.seed, 1, uint64(cell))*(1-into) + unit(n.seed, 1, uint64(cell+1))*into
	return int64((n.Phase + pace*float64(j) + wander*drift + flutter*(unit(n.seed, 2, uint64(j))-0.5)) * n.interval)
}

// from is the first flush at t or later: the one that collects what happens at t.
func (n *node) from(t int64) int64 {
	j := int64(math.Floor((float64(t)/n.interval - n.Phase - wander) / pace))
	for n.at(j) >= t {
		j--
	}
	for n.at(j) < t {
		j++
	}
	return j
}

// longest is the longest that a flush covers.
func (n *node) longest() int64 { return int64(1.11 * n.interval) }

// stamp is what the flows of the jth flush carry as their start, in seconds.
func (n *node) stamp(j int64) int64 {
	return (n.at(j-1) + int64(n.Skew)) / int64(time.Second)
}

func (n *node) lag(k uint64) int64 {
	return int64(n.Lag * (0.5 + unit(n.seed, 3, k)) * float64(n.window))
}

// longestLag is the longest that a flush is on its way, cuts apart.
func (n *node) longestLag() int64 { return int64((1.5*n.Lag + 2.3) * float64(n.window)) }

// arrival is when the jth flush reaches Goldmane for the first time; false if it does
// not.
func (n *node) arrival(j int64) (int64, bool) {
	made := n.at(j)
	if n.Silent.covers(made) {
		return 0, false
	}
	at := made + n.lag(uint64(j))
	if unit(n.seed, 4, uint64(j)) < n.Late {
		at += int64((1.2 + unit(n.seed, 5, uint64(j))) * float64(n.window))
	}
	if !n.Cut.covers(made) && !n.Cut.covers(at) {
		return at, true
	}
	ends := n.Cut.ends(made, made+resent*n.window-1)
	if len(ends) == 0 {
		return 0, false
	}
	return n.again(ends[0]), true
}

// again is when what is sent again after a cut arrives.
func (n *node) again(end int64) int64 { return end + n.lag(uint64(end)) }

// flush is one that a call is interested in, or that stands between two of those.
type flush struct {
	j        int64
	from, to int64 // it collects what happened in (from, to]
	arrivals []delivery
}

// delivery is a flush's way to Goldmane; it can have more than one.
type delivery struct {
	at    int64
	flows []*goldmane.Flow
}

// view is a node's flushes, one after the other without a gap.
type view struct {
	flushes []flush
}

// want adds an arrival of the jth flush, and what stands between it and the last. The j of
// one view do not go down.
func (v *view) want(n *node, j, at int64) {
	add := func(j int64) flush { return flush{j: j, from: n.at(j - 1), to: n.at(j)} }
	if len(v.flushes) == 0 {
		// One more before: what straggles into the first was due there.
		v.flushes = append(v.flushes, add(j-1))
	}
	for last := v.flushes[len(v.flushes)-1].j; last < j; last++ {
		v.flushes = append(v.flushes, add(last+1))
	}
	f := &v.flushes[j-v.flushes[0].j]
	f.arrivals = append(f.arrivals, delivery{at: at})
}

// find is the index of the flush that collects what happens at t: -1 if it is one before
// the view, the number of flushes if it is one after.
func (v *view) find(t int64) int {
	first, n := v.flushes[0].from, len(v.flushes)
	if t <= first {
		return -1
	}
	last := v.flushes[n-1].to
	if t > last {
		return n
	}
	i := min(int(float64(t-first)/float64(last-first)*float64(n)), n-1)
	for v.flushes[i].from >= t {
		i--
	}
	for v.flushes[i].to < t {
		i++
	}
	return i
}

// arriving is the node's flushes of which anything arrives in [from, to).
func (n *node) arriving(from, to int64) view {
	var v view
	// In order, so that a view grows at its end.
	for j := n.from(from - resent*n.window - n.longestLag()); ; j++ {
		made := n.at(j)
		if made >= to {
			return v
		}
		at, ok := n.arrival(j)
		if ok && from <= at && at < to {
			v.want(n, j, at)
		}
		if n.Silent.covers(made) {
			continue
		}
		for _, end := range n.Cut.ends(made-1, made+resent*n.window-1) {
			// Its first arrival may be this one.
			if again := n.again(end); from <= again && again < to && (!ok || again != at) {
				v.want(n, j, again)
			}
		}
	}
}

// stamped is the node's flushes that carry a stamp in the seconds [from, to), each as it
// arrives for the first time.
func (n *node) stamped(from, to int64) view {
	var v view
	second := int64(time.Second)
	for j := n.from(from*second-int64(n.Skew)) - 1; ; j++ {
		stamp := n.stamp(j)
		if stamp >= to {
			return v
		}
		if at, ok := n.arrival(j); ok && stamp >= from {
			v.want(n, j, at)
		}
	}
}
