package goldmanereceiver

import (
	"context"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"
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
	// disconnected is true from a failed List to the next that succeeds.
	disconnected bool

	// stop ends the goroutine and done waits for it; both are nil or zero until Start
	// succeeded.
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
	return &goldmaneReceiver{
		cfg: cfg, set: set, next: next, obs: obs, count: count, convert: convert,
		codec: newAnswerCodec(), clock: clockwork.NewRealClock(),
	}, nil
}

// Start begins to read. It does not wait for Goldmane, which may come later.
func (r *goldmaneReceiver) Start(ctx context.Context, host component.Host) error { //nolint:contextcheck // see below
	conn, err := connect(ctx, r.cfg, host, r.set.TelemetrySettings)
	if err != nil {
		return err
	}
	r.host, r.conn = host, conn
	// The work outlives Start's context, by the Collector's contract.
	background, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.done.Go(func() { r.run(background) })
	return nil
}

// Shutdown ends the reading and waits for it. A window under way is dropped; it is
// still in Goldmane's ring. Without a Start that succeeded, or the second time, it
// does nothing.
func (r *goldmaneReceiver) Shutdown(context.Context) error {
	if r.stop == nil {
		return nil
	}
	r.stop()
	r.done.Wait()
	r.stop = nil
	r.count.Shutdown()
	return r.conn.Close()
}

// run reads window after window, oldest first, each when it has settled.
func (r *goldmaneReceiver) run(ctx context.Context) {
	for start := r.oldest(); ; start += r.windowSeconds() {
		settled := time.Unix(start, 0).Add(r.cfg.SettleDelay)
		if !r.sleep(ctx, settled.Sub(r.clock.Now())) {
			return
		}
		start = r.skipLost(ctx, start)
		if !r.readWindow(ctx, start) {
			return
		}
	}
}

// readWindow takes one window through. It returns false when ctx has ended.
func (r *goldmaneReceiver) readWindow(ctx context.Context, start int64) bool {
	w, became := r.list(ctx, start)
	if ctx.Err() != nil {
		return false
	}
	r.count.window(ctx, became, 1)
	return w == nil || r.deliver(ctx, w)
}

// skipLost returns start, or the oldest window that Goldmane still has where start
// has left the ring meanwhile, and counts the windows in between.
func (r *goldmaneReceiver) skipLost(ctx context.Context, start int64) int64 {
	oldest := r.oldest()
	if start >= oldest {
		return start
	}
	lost := (oldest - start) / r.windowSeconds()
	r.count.window(ctx, windowLost, lost)
	r.set.Logger.Error("Windows left Goldmane's ring before they could be read; their flows are not in the trail",
		zap.Int64("windows", lost), zap.Time("from", time.Unix(start, 0)), zap.Time("to", time.Unix(oldest, 0)))
	return oldest
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
