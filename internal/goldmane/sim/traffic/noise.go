package traffic

import (
	"hash/fnv"
	"math/rand/v2"
)

// mix spreads close numbers far apart (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

const golden = 0x9e3779b97f4a7c15

// hash is a number that depends on its arguments alone.
func hash(seed uint64, parts ...uint64) uint64 {
	h := mix(seed + golden)
	for _, p := range parts {
		h = mix(h ^ mix(p+golden))
	}
	return h
}

func hashString(seed uint64, s string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(s)) // never fails
	return hash(seed, f.Sum64())
}

// unit is a number in [0, 1) that depends on its arguments alone.
func unit(seed uint64, parts ...uint64) float64 { return fraction(hash(seed, parts...)) }

func fraction(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// dice is a source of randomness that is begun anew for every pair and window.
type dice struct {
	*rand.Rand
	pcg *rand.PCG
}

func newDice() dice {
	pcg := rand.NewPCG(0, 0)
	return dice{rand.New(pcg), pcg}
}

// vary is about mean, one at least, and now and then several times that.
func (d dice) vary(mean float64) float64 { return 1 + max(mean-1, 0)*(0.5+d.ExpFloat64()*0.5) }
