package goldmanereceiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Pairs that one end only has reported, more than a tenth and three at least, say that a
// node does not reach Goldmane: first, and in the end, though what it had has come.
func TestNodesThatAreSilent(t *testing.T) {
	const apart = 15 * 5 // beyond every reach
	windows := []struct {
		pairs, oneSided int64
		want            string
	}{
		{10, 4, "partial settled cause nodes_silent "},
		{4, 2, "complete settled cause - "},  // of few pairs
		{30, 3, "complete settled cause - "}, // a tenth
		{29, 3, "partial settled cause nodes_silent "},
	}
	r := newRig(t, nil, nil)
	cfg := r.config()
	cfg.StartAt = StartAtNow
	r.start(cfg)
	r.run(apart * time.Second)
	start := func(i int) int64 { return windowStart + int64(i+1)*apart }
	for i, w := range windows {
		for p := range w.pairs {
			if p%2 == 0 || p >= w.oneSided {
				r.pushToPod(start(i), port(1+p))
			}
			if p%2 == 1 || p >= w.oneSided {
				r.pushToPod(start(i), port(1+p), atDestination)
			}
		}
		r.pushToPod(start(i), port(100), func(f *goldmane.Flow) { f.PacketsIn, f.PacketsOut = 0, 0 }) // idle
		r.push(start(i), port(101))
		r.run(apart * time.Second)
	}
	r.run(15 * time.Second)
	for i, w := range windows {
		require.Len(t, r.coverageAt(start(i)), 1)
		assert.Contains(t, r.coverageAt(start(i))[0], w.want)
		assert.Contains(t, r.coverageAt(start(i))[0], " pairs "+itoa(w.pairs)+" one_sided "+itoa(w.oneSided))
	}
	for i, w := range windows { // in the end they come
		for p := range w.oneSided {
			if p%2 == 0 {
				r.pushToPod(start(i), port(1+p), atDestination)
			} else {
				r.pushToPod(start(i), port(1+p))
			}
		}
	}
	r.runTo(start(len(windows)), 400*time.Second)
	for i, w := range windows {
		require.Len(t, r.coverageAt(start(i)), 2)
		final := r.coverageAt(start(i))[1]
		assert.Equal(t, w.want[:8] == "partial ", final[:8] == "partial ", final)
		assert.Contains(t, final, " pairs "+itoa(w.pairs)+" one_sided "+itoa(w.oneSided))
	}
	for _, line := range r.bodies() {
		assert.NotContains(t, line, "v2 unconfirmed frontend/web-5f7d-* -> payments/api-7d9c-* 1/", "what has come late confirms")
	}
}

// What lasts over a day is how the cluster is: windows are complete again.
func TestSilenceThatLasts(t *testing.T) {
	s := silence{}
	note := func(at time.Duration, pairs, oneSided int64) flowlog.Coverage {
		known := flowlog.Coverage{
			Start: windowStart + int64(at/time.Second), Status: flowlog.StatusComplete, Pairs: pairs, OneSided: oneSided,
		}
		s.note(&known)
		assert.Equal(t, oneSided, known.OneSided)
		return known
	}
	silent := func(at time.Duration) bool {
		known := note(at, 20, 10)
		assert.Equal(t, known.Cause == flowlog.CauseNodesSilent, known.Status == flowlog.StatusPartial)
		return known.Cause == flowlog.CauseNodesSilent
	}
	const hour = time.Hour
	at := time.Duration(0)
	for ; at <= 24*hour+15*time.Second; at += 15 * time.Second {
		if at%hour == 0 {
			assert.Equal(t, flowlog.StatusComplete, note(at, 20, 1).Status, "a window without is complete, and ends nothing")
			continue
		}
		require.True(t, silent(at), "%v", at)
	}
	for ; at <= 30*hour; at += time.Minute {
		require.False(t, silent(at), "%v: it has lasted for a day", at)
	}
	at += hour
	assert.True(t, silent(at+time.Second), "after an hour without it begins anew")
	graver := flowlog.Coverage{Start: windowStart + int64(at/time.Second) + 15, Status: flowlog.StatusPartial, Cause: flowlog.CauseGoldmaneRestart, Pairs: 20, OneSided: 10}
	s.note(&graver)
	assert.Equal(t, flowlog.CauseGoldmaneRestart, graver.Cause, "the graver cause stands")
}
