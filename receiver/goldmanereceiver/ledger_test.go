package goldmanereceiver

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
)

// ledgerSpeed makes a window of 15 s pass in 30 ms and Goldmane's hour in 7 s.
const ledgerSpeed = 500

// flowInWindow is what Goldmane was given: a key, which is a port here, in a window.
type flowInWindow struct{ port, window int64 }

// driver gives Goldmane flows, as nodes do: most when their window is over, one in ten
// after it was streamed, one in fifty after it has settled.
type driver struct {
	clock *fastClock
	rand  *rand.Rand

	// mu guards what follows.
	mu       sync.Mutex
	goldmane *sim.Goldmane
	// given is when each flow was given, and sent what nodes would send again.
	given map[flowInWindow]time.Time
	wg    sync.WaitGroup
	stop  chan struct{}
}

const keysAWindow = 20

// run gives windows until it is stopped.
func (d *driver) run() {
	start := d.clock.Now().Unix() / 15 * 15
	for ; ; start += 15 {
		timer := d.clock.NewTimer(d.clock.Until(time.Unix(start+15, 0)))
		select {
		case <-d.stop:
			timer.Stop()
			return
		case <-timer.Chan():
		}
		for port := range int64(keysAWindow) {
			after := time.Duration(d.rand.Int64N(int64(12 * time.Second)))
			switch {
			case d.rand.IntN(50) == 0:
				after = 60*time.Second + time.Duration(d.rand.Int64N(int64(2*time.Minute)))
			case d.rand.IntN(10) == 0:
				after = 17*time.Second + time.Duration(d.rand.Int64N(int64(8*time.Second)))
			}
			f := flowInWindow{port + 1, start}
			if after < 2*time.Second {
				d.give(f)
				continue
			}
			d.wg.Go(func() {
				timer := d.clock.NewTimer(after)
				defer timer.Stop()
				select {
				case <-d.stop:
				case <-timer.Chan():
					d.give(f)
				}
			})
		}
	}
}

func (d *driver) give(f flowInWindow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.push(f)
	d.given[f] = d.clock.Now()
}

func (d *driver) push(f flowInWindow) {
	flow := row(port(f.port)).Flow
	flow.StartTime, flow.EndTime = f.window, f.window+15
	d.goldmane.Push(flow)
}

// restart puts an empty Goldmane in place, to which the nodes send what they were given
// in the last five minutes.
func (d *driver) restart(g *sim.Goldmane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.goldmane = g
	now := d.clock.Now()
	for f, at := range d.given {
		if now.Sub(at) < 5*time.Minute {
			d.push(f)
		}
	}
}

// TestLedger lets everything go wrong that can go wrong, and asks in the end whether
// the trail says exactly what Goldmane had, and which windows it has not, and why.
// GOLDTRAIL_SEED repeats the driver's part of a run.
func TestLedger(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("GOLDTRAIL_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("GOLDTRAIL_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	epoch := time.Now().Truncate(time.Second)
	clock := newFastClock(epoch, ledgerSpeed)
	proxy := newProxy(t)
	wrong := &faults{cut: func() { proxy.cut("") }}
	first, address := newGoldmane(t, clock, wrong)
	proxy.cut(address)
	sink, sinkAddress := newSink(t)
	log := &tail{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the receiver's last words:\n%s", log)
		}
	})
	d := &driver{clock: clock, rand: rand.New(rand.NewPCG(seed, 1)), goldmane: first, given: map[flowInWindow]time.Time{}, stop: make(chan struct{})}
	d.wg.Go(d.run)

	c := child{Epoch: epoch, Speed: ledgerSpeed, Goldmane: proxy.listener.Addr().String(), Sink: sinkAddress, Storage: t.TempDir()}
	process := c.start(t, log)
	defer func() { process.kill() }()
	wait := func(d time.Duration) { clock.Sleep(d) } // time passes; nothing is waited for
	kills := 0
	kill := func() { process.kill(); process = c.start(t, log); kills++ }
	caughtUp := func() {
		t.Helper()
		now := clock.Now()
		require.Eventually(t, func() bool {
			return sink.has(flowlog.EventCoverage, func(r received) bool {
				return r.attributes[flowlog.FlowEnd].(int64) > now.Unix()-60 && r.at.After(now.Add(-2*time.Minute))
			})
		}, time.Minute, 10*time.Millisecond, "it should catch up")
	}
	caughtUp()

	// Small troubles, and twenty kills in the middle of them.
	wrong.some.Store(12)
	sink.some.Store(12)
	for range 20 {
		wait(2*time.Minute + time.Duration(random.Int64N(int64(6*time.Minute))))
		kill()
	}
	wrong.some.Store(0)
	sink.some.Store(0)
	caughtUp()

	// Goldmane restarts, with nothing unread: nothing is lost.
	g, address := newGoldmane(t, clock, wrong)
	d.restart(g)
	proxy.cut(address)
	wait(12 * time.Minute)
	caughtUp()

	// Goldmane restarts while the pipeline refuses: what was older than the nodes'
	// memory is lost.
	sink.all.Store(true)
	wait(25 * time.Minute)
	g, address = newGoldmane(t, clock, wrong)
	d.restart(g)
	proxy.cut(address)
	sink.all.Store(false)
	wait(12 * time.Minute)
	caughtUp()

	// Nothing can be listed for more than an hour.
	wrong.all.Store(true)
	wait(80 * time.Minute)
	wrong.all.Store(false)
	caughtUp()

	// The pipeline takes nothing for more than an hour.
	sink.all.Store(true)
	wait(80 * time.Minute)
	sink.all.Store(false)
	caughtUp()

	// No receiver runs for more than an hour.
	process.kill()
	wait(80 * time.Minute)
	process = c.start(t, log)
	caughtUp()
	wait(10 * time.Minute) // the last rechecks
	process.kill()
	close(d.stop)
	d.wg.Wait()

	l := sink.ledger(t)
	t.Logf("%d windows final, %d in %d gaps, %d flows, %d late, %d repeated windows after %d kills",
		len(l.final), len(l.missing), len(l.gaps), len(l.flows), l.late, len(l.repeated), kills)
	var causes []string
	for _, gap := range l.gaps {
		causes = append(causes, gap.cause)
		t.Log("gap", time.Unix(gap.from, 0).UTC(), time.Unix(gap.to, 0).UTC(), gap.cause)
	}
	assert.Equal(t, []string{flowlog.CauseGoldmaneRestart, flowlog.CauseRingOverrun, flowlog.CauseDownstreamBlocked, flowlog.CauseReceiverDown}, slices.Compact(causes))
	assert.LessOrEqual(t, len(l.repeated), kills, "a kill repeats one window at most")
	l.account(t, d)
}

// has reports whether a record of that event is so.
func (s *sink) has(event string, is func(received) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.records, func(r received) bool { return r.event == event && is(r) })
}

// trail is what the sink's records say, exact repeats dropped.
type trail struct {
	flows    map[flowInWindow]int
	late     int
	repeated map[int64]bool
	final    map[int64]string // status by window
	settled  map[int64]bool
	missing  map[int64]string // cause by window
	gaps     []gapSpan
}

type gapSpan struct {
	from, to int64
	cause    string
}

func (s *sink) ledger(t *testing.T) trail {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := trail{map[flowInWindow]int{}, 0, map[int64]bool{}, map[int64]string{}, map[int64]bool{}, map[int64]string{}, nil}
	seen := map[string]bool{}
	for _, r := range s.records {
		start, end := r.attributes[flowlog.FlowStart].(int64), r.attributes[flowlog.FlowEnd].(int64)
		exact := string(binary.BigEndian.AppendUint64([]byte(r.stream+r.body), uint64(r.at.UnixNano())))
		if seen[exact] {
			l.repeated[start] = true
			continue
		}
		seen[exact] = true
		switch r.event {
		case flowlog.EventName:
			l.flows[flowInWindow{r.attributes[flowlog.DestinationPort].(int64), start}]++
			if strings.HasSuffix(r.body, " late") {
				l.late++
			}
		case flowlog.EventCoverage:
			if !r.attributes[flowlog.CoverageFinal].(bool) {
				l.settled[start] = true
				continue
			}
			if before, ok := l.final[start]; ok {
				t.Errorf("%s has two final words: %s and %s", time.Unix(start, 0).UTC(), before, r.body)
			}
			l.final[start] = r.body
		case flowlog.EventGap:
			cause := r.attributes[flowlog.CoverageCause].(string)
			l.gaps = append(l.gaps, gapSpan{start, end, cause})
			for ; start < end; start += 15 {
				if before, ok := l.missing[start]; ok {
					t.Errorf("%s is missing twice: %s and %s", time.Unix(start, 0).UTC(), before, cause)
				}
				l.missing[start] = cause
			}
		}
	}
	return l
}

// account holds the trail against what Goldmane was given.
func (l *trail) account(t *testing.T, d *driver) {
	t.Helper()
	var problems []string
	problem := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }
	first, last := int64(1<<62), int64(0)
	for start := range l.final {
		first, last = min(first, start), max(last, start)
	}
	for start := first; start <= last; start += 15 {
		_, final := l.final[start]
		_, missing := l.missing[start]
		if final == missing {
			problem("%s: final %v, missing %v", time.Unix(start, 0).UTC(), final, missing)
		}
	}
	for f, at := range d.given {
		start := time.Unix(f.window, 0)
		n := l.flows[f]
		_, missing := l.missing[f.window]
		switch {
		case f.window < first || f.window > last:
		case missing:
			if n > 0 {
				problem("%s port %d is in the trail, and its window in a gap", start.UTC(), f.port)
			}
		case n > 1:
			problem("%s port %d is %d times in the trail", start.UTC(), f.port, n)
		case n == 0 && at.Sub(start) < 5*time.Minute+30*time.Second && strings.Contains(l.final[f.window], " complete "):
			// Given in time, in a window that the trail calls complete.
			problem("%s port %d is not in the trail; given %v after the window's start; %s", start.UTC(), f.port, at.Sub(start), l.final[f.window])
		}
	}
	for f := range l.flows {
		if _, ok := d.given[f]; !ok {
			problem("%s port %d is in the trail and nobody gave it", time.Unix(f.window, 0).UTC(), f.port)
		}
	}
	slices.Sort(problems)
	if len(problems) > 0 {
		t.Errorf("%d problems, the first of them:\n%s", len(problems), strings.Join(problems[:min(20, len(problems))], "\n"))
	}
}
