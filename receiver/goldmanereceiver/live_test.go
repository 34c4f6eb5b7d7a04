package goldmanereceiver

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadatatest"
)

// previews are the lines of what the live lane has brought, sorted.
func (r *rig) previews() []string { return r.stream(flowlog.StreamLive) }

// startLive starts a receiver with the live lane, and waits until Goldmane streams to
// it: until flows that nobody could have listed yet arrive.
func (r *rig) startLive() {
	cfg := r.config()
	r.store(cfg)
	cfg.Live = true
	r.start(cfg)
	r.advance(0)
	require.Eventually(r.t, func() bool {
		start := r.ringClock.Now().Unix() / 15 * 15
		r.push(start, port(9999))
		r.advance(30 * time.Second) // the window is streamed now, and settles in 15 s
		for range 20 {
			if len(r.previews()) > 0 {
				return true
			}
			time.Sleep(time.Millisecond) //nolint:forbidigo // a stream that is not open yet brings nothing; the next window may
		}
		return false
	}, patience, time.Millisecond, "the stream should open")
}

// onPort counts records by port, and adds up what the source sent.
func (r *rig) onPort(p string) (records int, packets int64, late int) {
	return onPort(r.t, r.bodies(), p)
}

func onPort(t *testing.T, lines []string, p string) (records int, packets int64, late int) {
	t.Helper()
	for _, line := range lines {
		f, err := flowlog.ParseLine(line)
		require.NoError(t, err)
		if strings.Contains(line, " "+p+"/tcp ") {
			records++
			packets += f.SourcePackets
			if f.Late {
				late++
			}
		}
	}
	return records, packets, late
}

func TestLiveLane(t *testing.T) {
	r := newRig(t, nil, nil)
	r.startLive()
	start := r.ringClock.Now().Unix() / 15 * 15
	r.push(start, port(1))
	r.push(start, port(2))
	r.pushToPod(start, port(4))
	r.pushToPod(start, port(4), atDestination, denied)
	r.advance(30 * time.Second) // streamed, not settled
	previews := func(p string) int { n, _, _ := onPort(t, r.previews(), p); return n }
	require.Eventually(t, func() bool { return previews("2") == 1 && previews("4") == 2 }, patience, time.Millisecond, "what is streamed is handed on at once")
	r.push(start, port(2)) // the same flow again: it has counted twice as much
	r.push(start, port(3)) // too late for the stream
	n, _, _ := r.onPort("2")
	assert.Zero(t, n, "what is streamed is a preview")
	r.run(time.Minute)
	require.Eventually(t, func() bool { n, _, _ := r.onPort("3"); return n == 1 }, patience, time.Millisecond)

	// The settled window has everything, whatever the lane has brought.
	for p, want := range map[string]int64{"1": 10, "2": 20, "3": 10, "4": 10} {
		records, packets, late := r.onPort(p)
		assert.Equal(t, 1, records, "port %s", p)
		assert.Zero(t, late, "port %s", p)
		assert.Equal(t, want, packets, "port %s: what Goldmane has", p)
	}
	// And once more when it is looked at again: what has grown is counted only.
	r.push(start, port(1))
	r.run(7 * time.Minute)
	n, packets, _ := r.onPort("1")
	assert.Equal(t, 1, n)
	assert.Equal(t, int64(10), packets)
	metadatatest.AssertEqualGoldmaneFlowsRaised(t, r.telemetry, sum(1), ignore)

	assert.Equal(t, 1, previews("1"))
	assert.Zero(t, previews("3"))
	both := slices.DeleteFunc(r.previews(), func(line string) bool { return !strings.Contains(line, " 4/tcp ") })
	require.Len(t, both, 2, "nothing is merged in a preview")
	assert.True(t, strings.HasPrefix(both[0], "v2 deny "), both[0])
	assert.True(t, strings.HasPrefix(both[1], "v2 unconfirmed "), "nor taken for allowed: %s", both[1])
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, logs := range r.sink.AllLogs() {
		name, _ := logs.ResourceLogs().At(0).Resource().Attributes().Get(flowlog.ServiceName)
		for _, lr := range records(logs) {
			if lr.EventName() == flowlog.EventPreview || name.Str() == flowlog.StreamLive {
				assert.Equal(t, flowlog.EventPreview, lr.EventName())
				assert.Equal(t, flowlog.StreamLive, name.Str())
				assert.Contains(t, lr.Body().Str(), " uncounted", "nobody counts a preview")
			}
		}
	}
}

// The pipeline refuses, the lane overflows: it is closed, and everything arrives all the
// same, once.
func TestLiveLaneOverflows(t *testing.T) {
	r := newRig(t, nil, nil)
	r.startLive()
	r.setRefuse(errors.New("queue is full"))
	start := r.ringClock.Now().Unix() / 15 * 15
	big := func(f *goldmane.Flow) { f.SourceLabels = []string{"x=" + strings.Repeat("x", 1<<20)} }
	for p := range int64(laneBytes>>20 + 5) {
		r.push(start, port(1000+p), big)
	}
	r.ringClock.Advance(30 * time.Second)
	r.clock.Advance(30 * time.Second)
	r.pass(10*time.Millisecond, r.logContains("the pipeline took nothing while 64 MiB of flows came"), "the lane should be closed")
	r.setRefuse(nil)
	r.pass(time.Second, func() bool { n, _, _ := r.onPort("1000"); return n == 1 }, "the listing has it all")
	r.advance(0)
	for p := range int64(laneBytes>>20 + 5) {
		n, packets, _ := r.onPort(itoa(1000 + p))
		assert.Equal(t, 1, n, "port %d", 1000+p)
		assert.Equal(t, int64(10), packets)
	}
}
