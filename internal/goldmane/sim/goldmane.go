package sim

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

const (
	// intakeDepth flows wait for the ring at most; a further one waits intakeWait
	// and is then dropped.
	intakeDepth = 5000
	intakeWait  = 5 * time.Second

	defaultWindow = 15 * time.Second
)

// Options configure a simulated Goldmane. The zero value is one with 15 s windows on
// the real clock.
type Options struct {
	// Window is the length of a window in whole seconds; 0 is 15 s.
	Window time.Duration
	// Clock is what the ring turns by; nil is the real clock. The ring is brought up
	// to the clock before any call is served, so that a fake clock need only be
	// advanced.
	Clock clockwork.Clock
	// Seed is the first id minus one. A real Goldmane begins at 1 in every process;
	// another seed shows a client's test that ids mean nothing across a restart.
	Seed uint64
	// OnCrash, if set, is told once what ended a real Goldmane here. It must not call
	// Stop itself.
	OnCrash func(error)
}

// Goldmane is a running simulation. Its methods may be called concurrently.
type Goldmane struct {
	clock   clockwork.Clock
	window  int64 // seconds
	onCrash func(error)

	// The main loop owns the ring: it takes from these channels one request at a time.
	ring      *ring
	intake    chan intake
	queries   chan func()
	backfills chan *stream

	streams *streams
	dedup   *dedup
	dropped atomic.Int64

	ctx    context.Context // done when the simulation is stopped or has crashed
	cancel context.CancelFunc
	crash  sync.Once
	wg     sync.WaitGroup
}

// intake is one flow on its way to the ring.
type intake struct {
	flow *arrival
	done chan struct{} // closed when the ring has taken it or dropped it; may be nil
}

// New starts a Goldmane with an empty ring whose first window began at the last
// multiple of the window's length. The caller must call Stop. It panics where Window
// is not a whole number of seconds.
func New(o Options) *Goldmane {
	if o.Window == 0 {
		o.Window = defaultWindow
	}
	if o.Window < time.Second || o.Window%time.Second != 0 {
		panic(fmt.Sprintf("sim: Options.Window is %s: must be whole seconds, 1s or more; Goldmane counts in seconds", o.Window))
	}
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	g := &Goldmane{
		clock:     o.Clock,
		window:    int64(o.Window / time.Second),
		onCrash:   o.OnCrash,
		intake:    make(chan intake, intakeDepth),
		queries:   make(chan func()),
		backfills: make(chan *stream, 10),
		dedup:     newDedup(o.Clock),
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.streams = newStreams(g)
	g.ring = newRing(g.window, g.clock.Now().Unix(), int64(o.Seed), g.streams.offer)

	g.wg.Add(3)
	go g.run()
	go g.streams.serve()
	go g.streams.fanOut()
	return g
}

// Register adds the services Flows and FlowCollector to a gRPC server.
func (g *Goldmane) Register(r grpc.ServiceRegistrar) {
	goldmane.RegisterFlowsServer(r, &flowsServer{g: g})
	goldmane.RegisterFlowCollectorServer(r, &collectorServer{g: g})
}

// Push hands over one flow as if a node had sent it, without the removal of
// duplicates that Connect does. It returns when the ring has the flow or has dropped
// it, or when the simulation has ended. The flow is not kept.
func (g *Goldmane) Push(f *goldmane.Flow) {
	a, err := newArrival(f)
	if err != nil {
		g.fail(err)
		return
	}
	done := make(chan struct{})
	if !g.take(intake{flow: a, done: done}) {
		return
	}
	select {
	case <-done:
	case <-g.ctx.Done():
	}
}

// Keys is the number of flow keys that the window which starts at windowStart holds
// now: the rows that List has for exactly that window. It is 0 outside the ring.
func (g *Goldmane) Keys(windowStart int64) int {
	n := 0
	g.do(func() {
		if b := g.ring.find(windowStart); b != nil && b.start == windowStart {
			n = len(b.windows)
		}
	})
	return n
}

// Dropped is the number of flows that were lost because the intake was full for 5 s,
// or because they lay outside the ring.
func (g *Goldmane) Dropped() int64 { return g.dropped.Load() }

// Stop ends the simulation and waits for its goroutines. Calls being served answer
// Unavailable; the gRPC server is the caller's to stop. Stop may be called twice.
func (g *Goldmane) Stop() {
	g.cancel()
	g.wg.Wait()
}

// run is the main loop. As in Goldmane it is the only one to touch the ring, one
// thing at a time: a list that is being built holds up the intake, and a flow that
// waits for a window's lock holds up everything.
func (g *Goldmane) run() {
	defer g.wg.Done()
	timer := g.clock.NewTimer(g.untilRollover())
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-timer.Chan():
			g.catchUp()
			timer.Reset(g.untilRollover())
		case in := <-g.intake:
			g.catchUp()
			if !g.ring.add(in.flow) {
				g.dropped.Add(1)
			}
			if in.done != nil {
				close(in.done)
			}
		case query := <-g.queries:
			g.catchUp()
			query()
		case s := <-g.backfills:
			g.catchUp()
			g.ring.backfill(s.start, s.offer)
		}
	}
}

func (g *Goldmane) untilRollover() time.Duration {
	return time.Unix(g.ring.rolloverAt, 0).Sub(g.clock.Now())
}

// catchUp turns the ring until it is level with the clock.
func (g *Goldmane) catchUp() {
	for now := g.clock.Now().Unix(); g.ring.rolloverAt <= now && g.ctx.Err() == nil; {
		g.ring.rollover()
		g.dedup.expire()
	}
}

// do runs f in the main loop and reports whether it ran. A caller who is gone does not
// take its request back, as in Goldmane: it is still worked off.
func (g *Goldmane) do(f func()) bool {
	done := make(chan struct{})
	select {
	case g.queries <- func() { defer close(done); f() }:
	case <-g.ctx.Done():
		return false
	}
	select {
	case <-done:
		return true
	case <-g.ctx.Done():
		return false
	}
}

// take queues one flow for the ring and reports whether it found room in time.
func (g *Goldmane) take(in intake) bool {
	if err := send(g.ctx, g.clock, g.intake, in, intakeWait); err != nil {
		g.dropped.Add(1)
		return false
	}
	return true
}

// fail is what a panic is to a real Goldmane.
func (g *Goldmane) fail(err error) {
	g.crash.Do(func() {
		g.cancel()
		if g.onCrash != nil {
			g.onCrash(err)
		}
	})
}

// errGone answers every call after the end, as a closed connection would.
func errGone() error {
	return status.Error(codes.Unavailable, "the simulated Goldmane has ended")
}

// send writes v to ch within d of the clock.
func send[T any](ctx context.Context, clock clockwork.Clock, ch chan<- T, v T, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case ch <- v:
		return nil
	default:
	}
	timer := clock.NewTimer(d)
	defer timer.Stop()
	select {
	case ch <- v:
		return nil
	case <-timer.Chan():
		return context.DeadlineExceeded
	case <-ctx.Done():
		return ctx.Err()
	}
}
