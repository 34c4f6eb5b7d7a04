package goldmanereceiver

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// ledgerSpeed makes a window of 15 s pass in 75 ms of the wall, which leaves room for
// what the race detector and a busy machine cost.
const ledgerSpeed = 200

// ledgerRun is one run of TestLedger. All of its times are windows, so that the same
// schedule serves the simulator, with windows of 15 s and a clock that runs fast, and a
// real Goldmane, with windows of 1 s and the wall's clock.
type ledgerRun struct {
	t      *testing.T
	window time.Duration
	clock  clockwork.Clock
	fast   *timelineClock // nil is the wall's
	bin    string         // of a real Goldmane; "" is the simulator
	random *rand.Rand
	log    *tail
	wrong  *faults
	proxy  *proxy
	sink   *sink

	goldmane *backend
	nodes    *nodes
	child    child
	process  *process

	kills    int
	losses   []loss
	restarts []time.Time
	// large is the window of two batches.
	large int64
	// unread are the windows that nobody had read when Goldmane was restarted.
	unread span
	// readTo is the start of a window up to which all have been read.
	readTo int64
}

func newLedgerRun(t *testing.T, live bool) *ledgerRun {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("GOLDTRAIL_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("GOLDTRAIL_SEED=%d", seed)
	l := &ledgerRun{
		t: t, window: defaultWindow, bin: os.Getenv("GOLDMANE_BIN"), log: &tail{},
		random: rand.New(rand.NewPCG(seed, 0)), proxy: newProxy(t),
	}
	if l.bin == "" {
		l.fast = newTimelineClock(t, timeline{Epoch: time.Now().Truncate(time.Second), Speed: ledgerSpeed})
		l.clock = l.fast
	} else {
		l.window, l.clock = time.Second, clockwork.NewRealClock()
	}
	l.wrong = &faults{cut: func() { l.proxy.cut("") }}
	l.child = child{Live: live, Window: l.window, Goldmane: l.proxy.listener.Addr().String(), Storage: t.TempDir()}
	l.sink, l.child.Sink = newSink(t)
	l.goldmane = newBackend(t, l.bin, l.window, l.clock, l.wrong)
	l.proxy.cut(l.goldmane.receiver)
	l.nodes = newNodes(t, l.clock, l.window, seed, l.goldmane.nodes)
	l.start()
	t.Cleanup(func() {
		l.process.kill()
		if t.Failed() {
			t.Logf("the receiver's last words:\n%s", l.log)
		}
	})
	return l
}

// windows are how long so many windows are.
func (l *ledgerRun) windows(n float64) time.Duration { return time.Duration(n * float64(l.window)) }

// wait lets windows pass; nothing is waited for.
func (l *ledgerRun) wait(windows float64) { l.clock.Sleep(l.windows(windows)) }

// leap lets many windows pass, in a second if it can be.
func (l *ledgerRun) leap(windows float64) {
	end := l.clock.Now().Add(l.windows(windows))
	if l.fast != nil {
		leap := leap{time.Now(), l.windows(windows)}
		l.fast.leap(leap)
		if !l.process.killed {
			require.NoError(l.t, l.process.orders.Encode(leap))
		}
	}
	l.clock.Sleep(l.clock.Until(end))
}

func (l *ledgerRun) start() {
	if l.fast != nil {
		line := l.fast.timeline()
		l.child.Timeline = &line
	}
	l.process = l.child.start(l.t, l.log)
}

func (l *ledgerRun) kill() {
	l.process.kill()
	l.kills++
}

// eventually waits, on the wall, for what takes a second on an idle machine.
func (l *ledgerRun) eventually(happened func() bool, what string) {
	l.t.Helper()
	require.Eventually(l.t, func() bool { return happened() || l.died() }, 2*time.Minute, 5*time.Millisecond, what)
	require.False(l.t, l.died(), "the receiver ended by itself")
}

// died reports whether the receiver has ended without being killed.
func (l *ledgerRun) died() bool { return isClosed(l.process.done) && !l.process.killed }

// caughtUp waits until the receiver has read all windows up to the one that it is now.
func (l *ledgerRun) caughtUp() { l.t.Helper(); l.hasWordOn(l.clock.Now(), false) }

// hasWordOn waits until the trail says something of the window at t, or its final word.
func (l *ledgerRun) hasWordOn(t time.Time, final bool) {
	l.t.Helper()
	l.eventually(func() bool { return l.sink.coveredTo(final) > t.Unix() }, "it should catch up")
	l.readTo = t.Truncate(l.window).Unix()
}

// TestLedger lets everything go wrong that can go wrong, and asks in the end whether
// the trail says exactly what Goldmane had, and which windows it has not, and why.
// Once as windows are listed and reports merged, once with the live lane and every report a
// record of its own.
// GOLDTRAIL_SEED repeats the test's part of a run. With GOLDMANE_BIN it takes a real
// Goldmane and half an hour; GOLDTRAIL_LEDGER=short leaves out what takes an hour of
// windows each, and most of the kills.
func TestLedger(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	t.Run("listed", func(t *testing.T) { testLedger(t, false) })
	t.Run("live", func(t *testing.T) { testLedger(t, true) })
}

func testLedger(t *testing.T, live bool) {
	t.Helper()
	l := newLedgerRun(t, live)
	short := os.Getenv("GOLDTRAIL_LEDGER") == "short"
	l.caughtUp() // with what Goldmane may have had before

	kills := 20
	if short {
		kills = 8
	}
	l.smallTroubles(kills)
	l.killBetweenBatches()

	l.restartGoldmane()
	l.restartGoldmaneWhileBlocked()

	if !short {
		l.lose(flowlog.CauseRingOverrun, func() { l.wrong.all.Store(true) }, func() { l.wrong.all.Store(false) })
		l.lose(flowlog.CauseDownstreamBlocked, func() { l.sink.all.Store(true) }, func() { l.sink.all.Store(false) })
		l.lose(flowlog.CauseReceiverDown, l.kill, l.start)
	}
	l.finish()
}

// smallTroubles are calls that fail and kills, half of them at any time, half when the
// sink has something that the receiver does not know it has.
func (l *ledgerRun) smallTroubles(kills int) {
	l.wrong.some.Store(12)
	l.sink.some.Store(12)
	for i := range kills {
		had := l.sink.size()
		l.eventually(func() bool { return l.sink.size() > had }, "it should go on")
		l.wait(6 * l.random.Float64())
		if i%2 == 0 {
			after := l.random.IntN(4)
			held := l.sink.keepWaiting(func([]received) bool { after--; return after < 0 })
			l.eventually(func() bool { return isClosed(held) }, "it should hand something on")
		}
		l.kill()
		l.start()
	}
	l.wrong.some.Store(0)
	l.sink.some.Store(0)
	l.caughtUp()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// killBetweenBatches has a window of two batches, and a kill when the first was taken.
func (l *ledgerRun) killBetweenBatches() {
	l.kill()
	window := l.clock.Now().Truncate(l.window).Unix()
	for i := range int64(batchRecords + 100) {
		l.nodes.wg.Go(func() { l.nodes.give(nodeReport{outerPorts + i, window, flowlog.ReporterSource}) })
	}
	l.eventually(func() bool { return l.nodes.has(window) > batchRecords }, "the nodes should give a large window")
	held := l.sink.keepWaiting(func(batch []received) bool {
		return len(batch) == batchRecords && batch[0].event == flowlog.EventName
	})
	l.start()
	l.eventually(func() bool { return isClosed(held) }, "the large window should come")
	l.kill()
	l.start()
	l.caughtUp()
	l.large = window
}

// restartGoldmane restarts it with nothing unread: nothing is lost, or only what the
// nodes had forgotten when the receiver, on a very slow machine, found out.
func (l *ledgerRun) restartGoldmane() {
	loss := loss{cause: flowlog.CauseGoldmaneRestart, from: l.readTo}
	l.replace()
	l.caughtUp()
	loss.to = l.windowBefore(l.clock.Now(), resentWindows)
	l.losses = append(l.losses, loss)
}

// restartGoldmaneWhileBlocked restarts it while the pipeline refuses: what was older
// than the nodes' memory is lost.
func (l *ledgerRun) restartGoldmaneWhileBlocked() {
	loss := loss{cause: flowlog.CauseGoldmaneRestart, from: l.readTo}
	began := l.clock.Now()
	l.sink.all.Store(true)
	l.leap(40)
	l.replace()
	restarted := l.restarts[len(l.restarts)-1]
	l.sink.all.Store(false)
	l.caughtUp()
	loss.to = l.windowBefore(l.clock.Now(), resentWindows)
	loss.mustFrom, loss.mustTo = l.windowBefore(began, 1), l.windowBefore(restarted, resentWindows+1)
	l.unread = span{loss.mustTo, restarted.Unix()}
	l.losses = append(l.losses, loss)
}

// replace puts another Goldmane in place.
func (l *ledgerRun) replace() {
	l.nodes.restart(func() string {
		l.goldmane.stop()
		l.goldmane = newBackend(l.t, l.bin, l.window, l.clock, l.wrong)
		l.restarts = append(l.restarts, l.clock.Now())
		l.proxy.cut(l.goldmane.receiver)
		return l.goldmane.nodes
	})
}

// lose lets something be out of order for longer than Goldmane remembers.
func (l *ledgerRun) lose(cause string, begin, end func()) {
	loss := loss{cause: cause, from: l.readTo}
	began := l.clock.Now()
	begin()
	l.leap(ringWindows + 25)
	ended := l.clock.Now()
	end()
	l.caughtUp()
	loss.to = l.windowBefore(l.clock.Now(), ringWindows)
	loss.mustFrom, loss.mustTo = l.windowBefore(began, 1), l.windowBefore(ended, ringWindows+1)
	l.losses = append(l.losses, loss)
}

// windowBefore is the start of the window so many before the one at t.
func (l *ledgerRun) windowBefore(t time.Time, before int) int64 {
	return t.Truncate(l.window).Add(-l.windows(float64(before))).Unix()
}

// finish ends the traffic, waits for the final word on it, and looks at the trail.
func (l *ledgerRun) finish() {
	l.nodes.end()
	end := l.clock.Now()
	l.leap(20)
	l.hasWordOn(end, true)
	l.process.kill()

	trail := l.sink.trail(l.window)
	trail.accountForWindows(l.losses)
	trail.accountForReports(l.nodes.given, l.restarts)
	trail.accountForOutcomes(l.restarts)
	trail.accountForResent(l.nodes.given, l.unread)
	l.t.Logf("%d windows final, %d missing, %d reports, %d records of both sides, %d late, %d repeated windows after %d kills",
		len(trail.final), len(trail.missing), len(trail.told), trail.both, trail.late, len(trail.repeated), l.kills)
	grown, amended := trail.amended()
	l.t.Logf("%d reports that had grown, in %d windows with flows that came late", grown, amended)
	for _, gap := range trail.gaps {
		l.t.Logf("gap from %s to %s, %s", at(gap.from), at(gap.to), trail.missing[gap.from])
	}
	assert.LessOrEqual(l.t, len(trail.repeated), l.kills, "a kill repeats one window at most")
	assert.True(l.t, trail.repeated[l.large], "the large window was begun anew")
	assert.Equal(l.t, !l.child.Live, trail.both > 0, "reports are merged, but not with the live lane")
	trail.require(l.t)
}
