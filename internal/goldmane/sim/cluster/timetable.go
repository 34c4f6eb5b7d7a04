package cluster

import (
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

// When something goes wrong in the cluster. How often is by the clock, how long by the
// windows: a test whose windows last a second does not meet a cut every four minutes.
const (
	cutEvery    = time.Hour // another node each time
	cutFor      = 5         // windows
	silentEvery = 5 * time.Hour
	silentFor   = 12
	// swapEvery is how many windows a policy keeps its name.
	swapEvery = 83
)

// timetable is when the nth node is cut off, and when it is silent.
func (c *Cluster) timetable(n int, window time.Duration) (cut, silent traffic.Times) {
	moment := func(every, within time.Duration, which uint64) time.Time {
		return time.Unix(0, int64(n)*int64(every)).Add(time.Duration(unit(c.seed, which, uint64(n)) * float64(within)))
	}
	// A cut is in the second half of its hour and a silence in the first of its own, so
	// that they keep apart.
	cut = traffic.Times{{
		First:  moment(cutEvery, cutEvery/4, 101).Add(cutEvery / 2),
		Length: cutFor * window, Every: cutEvery * remote,
	}}
	silent = traffic.Times{{
		First:  moment(silentEvery, cutEvery/4, 102),
		Length: silentFor * window, Every: silentEvery * remote,
	}}
	return cut, silent
}

// swaps is when a namespace's policies are replaced by equal ones of another name.
func swaps(ns string, window time.Duration) traffic.Times {
	for i, swapped := range []string{"payments", "cart", "messaging"} {
		if ns == swapped {
			return traffic.Times{{First: time.Unix(0, int64(i+1)*19*int64(window)), Every: swapEvery * window}}
		}
	}
	return nil
}
