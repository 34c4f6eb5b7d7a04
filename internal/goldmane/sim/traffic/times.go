package traffic

import (
	"slices"
	"time"
)

// Times are stretches of time, or instants where only their beginnings count.
type Times []Recurring

// Recurring begins at First, lasts for Length, and does so again Every so often; only
// once where Every is 0.
type Recurring struct {
	First         time.Time
	Length, Every time.Duration
}

// at is the beginning of the nth stretch; false if there is none.
func (r Recurring) at(n int64) (int64, bool) {
	return r.First.UnixNano() + n*int64(r.Every), n == 0 || n > 0 && r.Every > 0
}

// begun is how many stretches have begun at t.
func (r Recurring) begun(t int64) int64 {
	since := t - r.First.UnixNano()
	switch {
	case since < 0:
		return 0
	case r.Every == 0:
		return 1
	}
	return since/int64(r.Every) + 1
}

func (ts Times) begun(t int64) int64 {
	var n int64
	for _, r := range ts {
		n += r.begun(t)
	}
	return n
}

// covers reports whether t lies in one of the stretches.
func (ts Times) covers(t int64) bool {
	for _, r := range ts {
		if from, ok := r.at(r.begun(t) - 1); ok && t < from+int64(r.Length) {
			return true
		}
	}
	return false
}

// ends are those ends of stretches that lie in (from, to].
func (ts Times) ends(from, to int64) []int64 {
	var all []int64
	for _, r := range ts {
		for n := r.begun(from - int64(r.Length)); ; n++ {
			begin, ok := r.at(n)
			end := begin + int64(r.Length)
			if !ok || end > to {
				break
			}
			if end > from {
				all = append(all, end)
			}
		}
	}
	slices.Sort(all)
	return all
}

// overlap reports whether a stretch, begun before by so much and ended later by so much,
// has anything of [from, to).
func (ts Times) overlap(from, to, before, after int64) bool {
	for _, r := range ts {
		// The last to begin before to has the latest end.
		if begin, ok := r.at(r.begun(to+before-1) - 1); ok && begin+int64(r.Length)+after > from {
			return true
		}
	}
	return false
}
