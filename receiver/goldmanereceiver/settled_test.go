package goldmanereceiver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadatatest"
)

var fileStorage = component.MustNewID("file_storage")

// store gives the rig a real file_storage.
func (r *rig) store(cfg *Config) {
	factory := filestorage.NewFactory()
	conf := factory.CreateDefaultConfig().(*filestorage.Config)
	conf.Directory = r.t.TempDir()
	extension, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), conf)
	require.NoError(r.t, err)
	require.NoError(r.t, extension.Start(context.Background(), r))
	r.t.Cleanup(func() { require.NoError(r.t, extension.Shutdown(context.Background())) })
	r.extensions = map[component.ID]component.Component{fileStorage: extension}
	cfg.StorageID = &fileStorage
}

// run lets time pass in steps of a window until d is over, waiting for the receiver in
// between.
func (r *rig) run(d time.Duration) {
	for ; d > 0; d -= defaultWindow {
		r.advance(min(d, defaultWindow))
	}
	r.advance(0)
}

func later60(f *goldmane.Flow) { f.PacketsOut += 60 }

func TestStragglersAreFoundWhenTheWindowIsListedAgain(t *testing.T) {
	r := newRig(t, nil, nil)
	r.push(windowStart-90, port(1))
	r.push(windowStart-90, port(2))
	r.start(r.config())
	r.awaitRecords(2)
	r.push(windowStart-90, port(2), later60) // the same flow counts more
	r.pushToPod(windowStart-90, port(3))
	r.pushToPod(windowStart-90, port(3), atDestination)
	r.run(4*time.Minute + 45*time.Second)
	r.awaitRecords(2) // it has been listed again, and the windows within reach have not
	r.run(30 * time.Second)
	r.awaitRecords(4)
	assert.Contains(t, r.bodies(), "v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 3/tcp both 3/2/1 10/1000 8/800 Vum late")
	assert.Contains(t, strings.Join(r.bodies(), "\n"), "v2 allow frontend/web-5f7d-* -> internet 2/tcp src 3/2/1 70/1000 8/800 ", "what it has counted since")
	assert.Contains(t, r.coverage(), "v2 window 2023-11-14T22:12:00Z 2023-11-14T22:12:15Z complete settled cause - flows 2 records 2 late 0 merged 0 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0")
	assert.Contains(t, r.coverage(), "v2 window 2023-11-14T22:12:00Z 2023-11-14T22:12:15Z complete final cause - flows 4 records 4 late 2 merged 1 discarded 0 raised 1 withheld 0 pairs 0 one_sided 0")
	metadatatest.AssertEqualGoldmaneFlowsRaised(t, r.telemetry, sum(1), ignore)
}

func TestACursorSparesRepeatsAfterARestart(t *testing.T) {
	r := newRig(t, nil, nil)
	cfg := r.config()
	r.store(cfg)
	r.push(windowStart-15*100, port(1))
	r.push(windowStart-90, port(2))
	r.start(cfg)
	r.awaitRecords(2)
	r.advance(0)
	r.stop()

	r.push(windowStart-90, port(3)) // for the recheck, after the restart
	r.push(windowStart-30, port(4))
	r.start(cfg)
	r.run(6 * time.Minute)
	r.awaitRecords(4)
	for start, n := range windowsOf(r.coverage()) {
		assert.LessOrEqual(t, n, 2, "%s: settled once, final once", start)
	}
	assert.Equal(t, 1, strings.Count(strings.Join(r.bodies(), "\n"), " late"))
	assert.False(t, r.logContains("Cannot read what is kept")(), "of windows without flows nothing is kept")
}

func TestStartAtNow(t *testing.T) {
	r := newRig(t, nil, nil)
	cfg := r.config()
	cfg.StartAt = StartAtNow
	r.push(windowStart-90, port(1))
	r.push(windowStart, port(2))
	r.start(cfg)
	r.run(90 * time.Second)
	r.awaitRecords(1)
}

func TestAWindowThatFailsHoldsUpNoOther(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	r := newRig(t, nil, tamper(func(a *goldmane.FlowListResult) (*goldmane.FlowListResult, error) {
		if failing.Load() {
			return nil, status.Error(codes.Internal, "broken")
		}
		return a, nil
	}))
	r.push(windowStart-90, port(1))
	r.push(windowStart-75, port(2))
	r.start(r.config())
	r.awaitRecords(1)
	failing.Store(false)
	r.pass(10*time.Millisecond, func() bool { return len(r.bodies()) == 2 }, "the window that failed should arrive in the end")
}

// What leaves the ring before anything was read is not missed, if it was there before the
// receiver; what came later is.
func TestNothingIsMissedThatWasThereBefore(t *testing.T) {
	for wait, missed := range map[time.Duration]string{
		5 * time.Minute: "",
		2 * time.Hour:   "v2 gap 2023-11-14T22:13:30Z ",
	} {
		r := newRig(t, nil, nil)
		r.server.Stop()
		r.start(r.config())
		r.advance(0)
		r.ringClock.Advance(wait)
		r.clock.Advance(wait)
		r.serve(r.address, nil, nil)
		r.pass(time.Second, func() bool { return len(windowsOf(r.coverage())) > 200 }, "it should read")
		gaps := slices.DeleteFunc(r.coverage(), func(line string) bool { return !strings.HasPrefix(line, "v2 gap ") })
		if missed == "" {
			assert.Empty(t, gaps)
			continue
		}
		require.Len(t, gaps, 1)
		assert.True(t, strings.HasPrefix(gaps[0], missed), gaps[0])
		assert.Contains(t, gaps[0], "ring_overrun")
	}
}

func TestGaps(t *testing.T) {
	gaps := func(r *rig) []string {
		return slices.DeleteFunc(r.coverage(), func(line string) bool { return !strings.HasPrefix(line, "v2 gap ") })
	}
	t.Run("the receiver was down", func(t *testing.T) {
		r := newRig(t, nil, nil)
		cfg := r.config()
		r.store(cfg)
		r.start(cfg)
		r.advance(0)
		r.stop()
		r.ringClock.Advance(2 * time.Hour)
		r.clock.Advance(2 * time.Hour)
		r.start(cfg)
		r.advance(0)
		// The window of 22:13:00 was next; the ring reaches back to 59 minutes.
		require.Equal(t, []string{"v2 gap 2023-11-14T22:13:00Z 2023-11-14T23:14:30Z missing final cause receiver_down windows 246"}, gaps(r))
		metadatatest.AssertEqualGoldmaneWindows(t, r.telemetry, sumOf("status", map[string]int{
			// Before and after, 21 windows are to be listed again, and two more are within reach of
			// those. After the outage the former are partial, and the latter done with.
			"complete": 213 + 211, "partial": 21, "missing": 246,
		}), ignore)
	})
	t.Run("Goldmane could not be read", func(t *testing.T) {
		r := newRig(t, nil, nil)
		r.start(r.config())
		r.advance(0)
		r.server.Stop()
		r.run(30 * time.Second)
		r.ringClock.Advance(2 * time.Hour)
		r.clock.Advance(2 * time.Hour)
		r.serve(r.address, nil, nil)
		r.pass(time.Second, func() bool { return len(gaps(r)) > 0 }, "there should be a gap")
		require.Len(t, gaps(r), 1)
		assert.Contains(t, gaps(r)[0], "cause ring_overrun")
	})
	t.Run("the pipeline took nothing", func(t *testing.T) {
		r := newRig(t, nil, nil)
		r.push(windowStart, port(1))
		r.start(r.config())
		r.run(30 * time.Second)
		r.setRefuse(errors.New("queue is full"))
		r.pass(time.Second, func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.refused > 2
		}, "it should have tried")
		r.pass(time.Minute, func() bool { return r.clock.Now().Unix() > windowStart+2*3600 }, "two hours should pass")
		r.ringClock.Advance(r.clock.Now().Sub(r.ringClock.Now()))
		r.setRefuse(nil)
		r.pass(time.Second, func() bool { return len(gaps(r)) > 0 }, "there should be a gap")
		require.Len(t, gaps(r), 1)
		assert.Contains(t, gaps(r)[0], "cause downstream_blocked")
	})
}

// replace puts a new Goldmane, with an empty ring, in the old one's place.
func (r *rig) replace() {
	r.server.Stop()
	r.goldmane.Stop()
	r.goldmane = sim.New(sim.Options{Clock: r.ringClock})
	r.t.Cleanup(r.goldmane.Stop)
	r.serve(r.address, nil, nil)
}

func TestGoldmaneRestarts(t *testing.T) {
	for _, missed := range []bool{false, true} {
		name := "while it is read"
		if missed {
			name = "between two calls"
		}
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, nil)
			for i := range int64(100) {
				r.push(windowStart-15*i, port(1))
			}
			r.start(r.config())
			r.awaitRecords(95)
			r.advance(0)
			if !missed {
				r.server.Stop()
				r.advance(15 * time.Second)
				r.pass(10*time.Millisecond, func() bool { return len(r.seenStatuses()) > 0 }, "it should notice")
			}
			r.replace()
			if missed {
				r.advance(15 * time.Second)
			}
			r.pass(10*time.Millisecond, r.logContains("Goldmane has lost its flows"), "the restart should be found out")
			// A minute and a half later the nodes send the last five minutes again, the
			// current window too.
			now := r.clock.Now().Unix()
			now -= now % 15
			r.run(90 * time.Second)
			for i := range int64(20) {
				r.push(now-15*i, port(1))
			}
			r.run(10 * time.Minute)
			for _, line := range r.bodies() {
				assert.NotContains(t, line, " late", "no window is read before that")
			}
			assert.GreaterOrEqual(t, len(r.bodies()), 100, "what was unread has been sent again")
			for _, line := range r.coverage() {
				assert.False(t, strings.HasPrefix(line, "v2 gap "), line)
			}
			assert.True(t, slices.ContainsFunc(r.coverage(), func(line string) bool {
				return strings.Contains(line, "partial final cause goldmane_restart flows 1 ")
			}))
			metadatatest.AssertEqualGoldmaneRestarts(t, r.telemetry, sum(1), ignore)
		})
	}
}

// What was unread when Goldmane was restarted, and is older than what nodes send again, is
// in a gap and nowhere else, the window that was about to be read among it.
func TestAWindowIsInAGapOrHasAFinalWord(t *testing.T) {
	r := newRig(t, nil, nil)
	for i := range int64(100) {
		r.push(windowStart-15*i, port(1))
	}
	cfg := r.config()
	cfg.RecheckDelay = 0
	r.start(cfg)
	r.awaitRecords(95)
	r.advance(0)
	r.server.Stop()
	r.ringClock.Advance(20 * time.Minute)
	r.clock.Advance(20 * time.Minute)
	r.replace()
	r.pass(10*time.Millisecond, r.logContains("Goldmane has lost its flows"), "the restart should be found out")
	r.run(5 * time.Minute)
	gap := "v2 gap 2023-11-14T22:13:00Z 2023-11-14T22:28:30Z missing final cause goldmane_restart windows 62"
	require.Contains(t, r.coverage(), gap)
	windows := windowsOf(r.coverage())
	for start := windowStart - 30; start < windowStart+15*60; start += 15 {
		assert.Zero(t, windows[time.Unix(start, 0).UTC().Format(time.RFC3339)], "it is in the gap")
	}
}

func TestAConnectionThatIsMadeAnewIsNoRestart(t *testing.T) {
	r := newRig(t, nil, nil)
	for i := range int64(100) {
		r.push(windowStart-15*i, port(1))
	}
	r.start(r.config())
	r.awaitRecords(95)
	r.server.Stop()
	r.serve(r.address, nil, nil)
	r.pass(time.Second, func() bool { return len(r.bodies()) >= 97 }, "it should go on")
	assert.False(t, r.logContains("Goldmane has lost its flows")())
	metadatatest.AssertEqualGoldmaneReconnects(t, r.telemetry, sum(1), ignore)
}

// A window may be readable for an hour and more, and the cause of its loss is what kept it
// from being read: what went on when it left the ring, or else for most of that time.
func TestWhyAWindowWasLost(t *testing.T) {
	const start = windowStart
	left := time.Unix(start, 0).Add(ringWindows * defaultWindow)
	for name, c := range map[string]struct {
		down, blocked spell
		want          string
	}{
		"nothing else went on":                  {want: "ring_overrun"},
		"down when it left":                     {down: spell{left.Add(-time.Minute), left.Add(time.Hour)}, want: "receiver_down"},
		"down until shortly before":             {down: spell{left.Add(-50 * time.Minute), left.Add(-time.Minute)}, want: "receiver_down"},
		"down for a moment, long before":        {down: spell{left.Add(-50 * time.Minute), left.Add(-45 * time.Minute)}, want: "ring_overrun"},
		"blocked when it left":                  {blocked: spell{left.Add(-time.Minute), left}, want: "downstream_blocked"},
		"blocked until shortly before":          {blocked: spell{left.Add(-50 * time.Minute), left.Add(-time.Second)}, want: "downstream_blocked"},
		"blocked for a moment":                  {blocked: spell{left.Add(-5 * time.Minute), left.Add(-time.Minute)}, want: "ring_overrun"},
		"down for long, and blocked as it left": {down: spell{left.Add(-50 * time.Minute), left.Add(-10 * time.Minute)}, blocked: spell{left.Add(-10 * time.Minute), left.Add(time.Minute)}, want: "downstream_blocked"},
	} {
		r := &goldmaneReceiver{cfg: createDefaultConfig().(*Config), state: &state{Window: 15, Blocked: c.blocked}, down: c.down}
		assert.Equal(t, c.want, r.whyLost(start), name)
	}
}

// With a storage, what is held of a window is there and not in memory: 24 windows of 50,000
// flows are 24 MB of ledgers, and those that are not decided 5.7 MB each.
func TestWhatIsStoredIsNotInMemory(t *testing.T) {
	r := newRig(t, nil, nil)
	cfg := r.config()
	r.store(cfg)
	for i := range int64(20) {
		r.push(windowStart-15*i, port(1))
		r.pushToPod(windowStart-15*i, port(2)) // which nobody confirms
	}
	r.start(cfg)
	r.run(time.Minute)
	r.stop()
	require.NotEmpty(t, r.receiver.parts)
	kept := 0
	for start, p := range r.receiver.parts {
		assert.Nil(t, p.answer, start)
		assert.Nil(t, p.ledger, start)
		assert.Nil(t, p.rest, start)
		if p.pairs.known {
			kept++
		}
	}
	assert.Positive(t, kept, "what was reported stays")

	r.start(cfg)
	r.run(8 * time.Minute)
	unconfirmed := 0
	for _, line := range r.bodies() {
		if strings.HasPrefix(line, "v2 unconfirmed ") {
			unconfirmed++
		}
	}
	assert.Equal(t, 20, unconfirmed, "and all of it is handed on in the end")
}
