package goldmanereceiver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What version 2 has stored is taken up: no window is written a second time, and those that
// it would have listed again get their last word.
func TestAnOlderVersionsCursorIsTakenUp(t *testing.T) {
	const (
		next                 = windowStart - 30
		first, second, third = windowStart - 75, windowStart - 60, windowStart - 45
	)
	r := newRig(t, nil, nil)
	cfg := r.config()
	memory := r.memorize(cfg, map[string][]byte{
		"state": fmt.Appendf(nil, `{"version":2,"window":15,"next":%d,"recheck":[%d,%d,%d],"rejected":[%d],"live":[%d],`+
			`"evidence":[{"start":%d,"rows":1}],"resent":{"from":0,"to":0,"due":"0001-01-01T00:00:00Z"},"owed":%d,`+
			`"alive":"2023-11-14T22:13:30Z","blocked":{"since":"0001-01-01T00:00:00Z","until":"0001-01-01T00:00:00Z"}}`,
			next, first, second, third, second, next, first, windowStart-3000),
		fmt.Sprintf("ledger/%d", first):  []byte("what was handed on"),
		fmt.Sprintf("ledger/%d", second): []byte("what was handed on"),
		fmt.Sprintf("ledger/%d", third):  []byte("what was handed on"),
		fmt.Sprintf("live/%d", next):     []byte("what the lane brought"),
		"outbox":                         []byte("what was about to be handed on"),
	})
	for start := first; start <= next; start += 15 {
		r.push(start, port(1))
	}
	r.start(cfg)
	r.run(8 * time.Minute)
	r.awaitRecords(1)
	assert.True(t, strings.HasPrefix(r.bodies()[0], "v2 allow "), r.bodies()[0])
	require.True(t, r.logContains("The cursor of an older version is taken up")())

	windows := windowsOf(r.coverage())
	for start := windowStart - 15*ringWindows; start < next; start += 15 {
		at := time.Unix(start, 0).UTC().Format(time.RFC3339)
		if start < first {
			assert.Zero(t, windows[at], at)
			continue
		}
		cause := "not_rechecked"
		if start == second {
			cause = "rejected"
		}
		assert.Equal(t, 1, windows[at], at)
		assert.Contains(t, strings.Join(r.coverage(), "\n"), at+" "+time.Unix(start+15, 0).UTC().Format(time.RFC3339)+" partial final cause "+cause+" ")
	}
	assert.Equal(t, 2, windows[time.Unix(next, 0).UTC().Format(time.RFC3339)])
	for _, key := range memory.keys() {
		assert.NotEqual(t, "outbox", key)
		assert.False(t, strings.HasPrefix(key, "live/"), key)
		for _, old := range []int64{first, second, third} {
			assert.NotEqual(t, fmt.Sprintf("ledger/%d", old), key)
		}
	}

	r.stop()
	r.start(cfg)
	r.run(time.Minute)
	r.awaitRecords(1)
	assert.False(t, r.logContains("older version")(), "once")
}
