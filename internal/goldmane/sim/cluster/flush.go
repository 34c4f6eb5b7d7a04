package cluster

import "time"

// Felix's timing, in windows of 15 s: a node flushes its flows every 15 s plus up to
// 1.5 s, and stamps them with the time of the flush before.
const (
	minPeriod = 1.0
	jitter    = 0.1
	latency   = 0.15 / 15 // from the flush to Goldmane
)

// flush is one node's delivery of one window.
type flush struct {
	stamp int64         // when the interval began, seconds since the epoch
	after time.Duration // how long after the window's start it arrives
}

// flushOf is the node's flush that falls into the window, if one does: a node's cycle
// is longer than a window, so about one window in twenty has none.
func (c *Cluster) flushOf(n int, start int64, length time.Duration) (flush, bool) {
	secs := int64(length / time.Second)
	index := start / secs // of the window
	cycle := minPeriod + jitter/2
	base := unit(c.seed, uint64(n))
	// The jth flush is at (base + j·cycle) windows, moved by up to a quarter of the jitter.
	at := func(j int64) float64 {
		return base + float64(j)*cycle + jitter/2*(unit(c.seed, uint64(n), uint64(j))-0.5)
	}
	guess := int64((float64(index) - base) / cycle)
	for j := guess - 1; j <= guess+2; j++ {
		into := at(j) - float64(index)
		if into < 0 || into >= 1 {
			continue
		}
		stamp := start + int64(into*float64(secs))
		after := at(j+1) - float64(index) + latency*(0.5+unit(c.seed, uint64(n), uint64(j), 1))
		if unit(c.seed, uint64(n), uint64(j), 2) < 0.01 {
			// A node that had to connect anew delivers a window or two later.
			after += 1.2 + unit(c.seed, uint64(n), uint64(j), 3)
		}
		return flush{stamp: stamp, after: time.Duration(after * float64(length))}, true
	}
	return flush{}, false
}

// unit is a number in [0, 1) that depends on its arguments alone.
func unit(seed uint64, parts ...uint64) float64 {
	h := mix(seed + 0x9e3779b97f4a7c15)
	for _, p := range parts {
		h = mix(h ^ mix(p+0x9e3779b97f4a7c15))
	}
	return float64(h>>11) / (1 << 53)
}
