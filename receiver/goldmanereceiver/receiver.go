package goldmanereceiver

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jonboulle/clockwork"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"google.golang.org/grpc"
)

// goldmaneReceiver reads one Goldmane. One goroutine does all of its work, so that
// nothing here but its start and its end needs a lock.
type goldmaneReceiver struct {
	cfg   *Config
	set   receiver.Settings
	next  consumer.Logs
	obs   *receiverhelper.ObsReport
	count counters
	clock clockwork.Clock

	host    component.Host
	conn    *grpc.ClientConn
	codec   answerCodec
	convert *converter
	store   *store

	// state is where the receiver stands, and plan what it will do.
	state *state
	plan  plan
	// parts are those of the held windows, by start.
	parts map[int64]*parts
	// lane is nil without 'live'.
	lane *lane
	// started is when reading began, and down is for how long no receiver ran before, as
	// far as the storage knows.
	started time.Time
	down    spell
	// listed is when a window was last listed; before that, when reading began.
	listed time.Time
	// notBefore holds back every call: after one has failed for the lack of a
	// connection, and to leave Goldmane its share of time.
	notBefore time.Time
	// connections counts the connections that gRPC has made; vouched is its value when
	// Goldmane was last found to be the one that it was before.
	connections *atomic.Int64
	vouched     int64
	// pause spaces the attempts to reach Goldmane.
	pause *backoff.ExponentialBackOff
	// failing is true from a failed call to the next contact; disconnected likewise,
	// where the component's status says so.
	failing, disconnected bool

	// gauges are what the metrics' callbacks read, from other goroutines.
	gauges gauges

	// stop ends the goroutine and done waits for it; stop is nil until Start succeeded.
	stop context.CancelFunc
	done sync.WaitGroup
}

var _ receiver.Logs = (*goldmaneReceiver)(nil)

func newReceiver(set receiver.Settings, cfg *Config, next consumer.Logs) (*goldmaneReceiver, error) {
	obs, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID:             set.ID,
		Transport:              "grpc",
		ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	count, err := newCounters(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	convert, err := newConverter(cfg.Labels)
	if err != nil {
		return nil, err
	}
	r := &goldmaneReceiver{
		cfg: cfg, set: set, next: next, obs: obs, count: count, convert: convert,
		codec: newAnswerCodec(), clock: clockwork.NewRealClock(), connections: new(atomic.Int64),
	}
	r.pause = r.newBackOff()
	if cfg.Live {
		r.lane = newLane(r)
	}
	return r, nil
}

// Start begins to read. It does not wait for Goldmane, which may come later.
func (r *goldmaneReceiver) Start(ctx context.Context, host component.Host) error { //nolint:contextcheck // see below
	store, err := openStore(ctx, host, r.cfg.StorageID, r.set.ID, r.set.Logger)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, r.cfg, host, r.set.TelemetrySettings, r.connections)
	if err != nil {
		return errors.Join(err, store.client.Close(ctx))
	}
	r.host, r.conn, r.store = host, conn, store
	if err := r.gauges.register(r); err != nil {
		return errors.Join(err, conn.Close(), store.client.Close(ctx))
	}
	// The work outlives Start's context, by the Collector's contract.
	background, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.done.Go(func() { r.run(background) })
	if r.lane != nil {
		r.done.Go(func() { r.lane.run(background) })
	}
	return nil
}

// Shutdown ends the reading and waits for it. A window under way is dropped; it is
// still in Goldmane's ring. Without a Start that succeeded, or the second time, it
// does nothing.
func (r *goldmaneReceiver) Shutdown(ctx context.Context) error {
	if r.stop == nil {
		return nil
	}
	r.stop()
	r.done.Wait()
	r.stop = nil
	r.count.Shutdown()
	return errors.Join(r.conn.Close(), r.store.client.Close(ctx))
}

// run does what is due, the oldest first, until ctx ends.
func (r *goldmaneReceiver) run(ctx context.Context) {
	if !r.resume(ctx) {
		return
	}
	for {
		t := r.plan.earliest(r.nextWindow())
		due := later(t.due, r.notBefore)
		s, stepDue := r.nextStep()
		if s != nil && !stepDue.After(due) {
			due = stepDue
		} else {
			s = nil
		}
		live, ok := r.wait(ctx, due.Sub(r.clock.Now()))
		switch {
		case !ok:
			return
		case live:
			ok = r.handOnLive(ctx)
		case s != nil:
			// It needs no Goldmane: what was listed leaves even while that is away.
			ok = r.take(ctx, *s)
		default:
			ok = r.lookAt(ctx, t)
		}
		if !ok {
			return
		}
		r.gauges.update(r)
	}
}

// lookAt lists a task's window, if Goldmane is there and still has it. It returns false when
// ctx has ended.
func (r *goldmaneReceiver) lookAt(ctx context.Context, t *task) bool {
	if !r.inContact() {
		r.makeContact(ctx)
		return ctx.Err() == nil // where Goldmane was restarted, something else is to be done now
	}
	if r.accountForLost(ctx) {
		return ctx.Err() == nil
	}
	return r.perform(ctx, t)
}

// resume takes up the stored state, or begins anew. It returns false when ctx has ended.
func (r *goldmaneReceiver) resume(ctx context.Context) bool {
	r.started = r.clock.Now()
	r.listed = r.started
	r.parts = map[int64]*parts{}
	r.state = r.store.load(ctx, r.windowSeconds())
	if r.state != nil {
		r.down = spell{r.state.Alive, r.started}
		r.takeUpHeld(ctx)
		if s := r.state.Doing; s != nil && !r.take(ctx, *s) {
			return false
		}
	}
	if r.state == nil {
		now := r.started.Unix()
		now -= now % r.windowSeconds()
		r.state = &state{Version: stateVersion, Window: r.windowSeconds(), Owed: now, Next: r.oldest()}
		if r.cfg.StartAt == StartAtNow {
			r.state.Next = now
		}
	}
	for _, start := range r.state.Open {
		r.plan.add(&task{start: start, due: r.settled(start)})
	}
	for i := range r.state.Held {
		if h := &r.state.Held[i]; h.Again {
			r.plan.add(&task{start: h.Start, recheck: true, due: r.recheckDue(h.Start)})
		}
	}
	r.gauges.update(r)
	return true
}

// takeUpHeld reads what is kept of the held windows. One whose answer cannot be read, and is
// not decided, is to be listed once more.
func (r *goldmaneReceiver) takeUpHeld(ctx context.Context) {
	r.state.Held = slices.DeleteFunc(r.state.Held, func(h held) bool {
		p, whole := r.store.partsOf(ctx, &h)
		if !whole {
			r.state.Open = append(r.state.Open, h.Start)
			if s := r.state.Doing; s != nil && s.Start == h.Start {
				r.state.Doing = nil
			}
			return true
		}
		r.parts[h.Start] = p
		p.putAway(true)
		return false
	})
	slices.Sort(r.state.Open)
}

// save stores where the receiver stands, and what more says, in one transaction. It reports
// whether that is in a storage now.
func (r *goldmaneReceiver) save(ctx context.Context, st *state, more ...*storage.Operation) (saved bool) {
	st.Alive = r.clock.Now()
	return r.store.save(ctx, st, more...)
}

// stillAlive stores, once a window, that the receiver runs while it gets nowhere: what is
// lost meanwhile is not lost because it was down.
func (r *goldmaneReceiver) stillAlive(ctx context.Context) {
	if r.clock.Since(r.state.Alive) >= r.cfg.Window {
		r.save(ctx, r.state)
	}
}

// nextWindow is the task of reading the first window that was not tried yet.
func (r *goldmaneReceiver) nextWindow() *task {
	return &task{start: r.state.Next, due: r.settled(r.state.Next)}
}

// settled is when a window may be read.
func (r *goldmaneReceiver) settled(start int64) time.Time {
	due := time.Unix(start, 0).Add(r.cfg.SettleDelay)
	if r.state.Resent.has(start) {
		return later(due, r.state.Resent.Due)
	}
	return due
}

// recheckDue is when a window is to be listed once more.
func (r *goldmaneReceiver) recheckDue(start int64) time.Time {
	return later(time.Unix(start, 0).Add(r.cfg.RecheckDelay), r.settled(start))
}

// oldest returns the start of the oldest window that Goldmane is sure to have, in
// seconds since the epoch.
func (r *goldmaneReceiver) oldest() int64 {
	window := r.windowSeconds()
	now := r.clock.Now().Unix()
	return now - now%window - ringWindows*window
}

func (r *goldmaneReceiver) windowSeconds() int64 { return int64(r.cfg.Window / time.Second) }

// sleep waits for d, and returns false if ctx ended first.
func (r *goldmaneReceiver) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := r.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.Chan():
		return true
	}
}

// wait waits for d, or until the live lane has brought flows. It is not ok when ctx
// ended first.
func (r *goldmaneReceiver) wait(ctx context.Context, d time.Duration) (live, ok bool) {
	if r.lane == nil {
		return false, r.sleep(ctx, d)
	}
	timer := r.clock.NewTimer(max(0, d))
	defer timer.Stop()
	select { // the lane first: it must not wait behind an hour's listing
	case <-r.lane.ready:
		return true, ctx.Err() == nil
	default:
	}
	select {
	case <-ctx.Done():
		return false, false
	case <-r.lane.ready:
		return true, true
	case <-timer.Chan():
		return false, true
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
