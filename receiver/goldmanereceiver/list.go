package goldmanereceiver

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// maxRefusals is how often Goldmane may answer with an error before its window is
// given up. A Goldmane that answers is there, and the windows behind wait.
const maxRefusals = 5

// list reads the window that starts at start, in seconds, and goes on trying until
// it has it, or it cannot be had, or ctx ends. It returns no window, then, and what
// became of it.
func (r *goldmaneReceiver) list(ctx context.Context, start int64) (w *window, became string) {
	pause := r.newBackOff()
	for refusals := 0; ; {
		w, err := r.listOnce(ctx, start)
		if err == nil {
			r.connected()
			return w, windowRead
		}
		if ctx.Err() != nil {
			return nil, windowLost
		}
		if err.cause == causeRefused || err.cause == causeGarbled {
			refusals++
		}
		r.failed(ctx, start, err)
		switch {
		case err.final, refusals >= maxRefusals:
			r.set.Logger.Error("A window's flows cannot be read; they are not in the trail", zap.Time("window", time.Unix(start, 0)), zap.Error(err))
			return nil, windowUnreadable
		case start < r.oldest():
			return nil, windowLost
		}
		if !r.sleep(ctx, pause.NextBackOff()) {
			return nil, windowLost
		}
	}
}

// listOnce asks for exactly one window. Both bounds are multiples of the window: an
// unaligned start would lose the window that it falls into. There is no page size,
// because pages over Goldmane's default order overlap and miss.
func (r *goldmaneReceiver) listOnce(ctx context.Context, start int64) (*window, *failure) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ListTimeout)
	defer cancel()
	began := r.clock.Now()
	request := &goldmane.FlowListRequest{StartTimeGte: start, StartTimeLt: start + r.windowSeconds()}
	var a answer
	if err := r.conn.Invoke(ctx, goldmane.Flows_List_FullMethodName, request, &a, grpc.ForceCodecV2(r.codec)); err != nil {
		return nil, classify(err, r.cfg)
	}
	r.count.GoldmaneListDuration.Record(ctx, r.clock.Since(began).Seconds())
	w, err := newWindow(start, a, r.convert, r.cfg.MergeReporters)
	if err != nil {
		return nil, &failure{err: err, cause: causeGarbled, remedy: "is 'endpoint' Goldmane?"}
	}
	r.count.converted(ctx, w, r.convert)
	return w, nil
}

// failed makes a failure seen: in the counter, in the log, and, once for a run of
// failures, in the component's status.
func (r *goldmaneReceiver) failed(ctx context.Context, start int64, err *failure) {
	r.count.listFailed(ctx, err.cause)
	if err.final {
		return // the connection works; list says what is lost
	}
	if !r.disconnected {
		r.disconnected = true
		componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
	}
	r.set.Logger.Warn("Cannot read flows from Goldmane; will try again", zap.Time("window", time.Unix(start, 0)), zap.Error(err))
}

// connected takes back what failed reported.
func (r *goldmaneReceiver) connected() {
	if r.disconnected {
		r.disconnected = false
		r.set.Logger.Info("Reading flows from Goldmane again")
		componentstatus.ReportStatus(r.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// newBackOff spaces the attempts at one thing: exponential, with jitter, endless.
func (r *goldmaneReceiver) newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = r.cfg.Retry.InitialInterval, r.cfg.Retry.MaxInterval
	b.Reset()
	return b
}
