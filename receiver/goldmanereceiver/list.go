package goldmanereceiver

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// maxRefusals is how often Goldmane may answer with an error before its window is
// given up. A Goldmane that answers is there, and the windows behind wait.
const maxRefusals = 5

// list reads the window that starts at start, in seconds, and goes on trying until
// it has it, or it cannot be had, or ctx ends. The third result says what became of
// the window where rows is not to be used.
func (r *goldmaneReceiver) list(ctx context.Context, start int64) (rows []*goldmane.FlowResult, became string, ok bool) {
	pause := r.newBackOff()
	for refusals := 0; ; {
		rows, err := r.listOnce(ctx, start)
		if err == nil {
			r.connected()
			return rows, windowRead, true
		}
		if ctx.Err() != nil {
			return nil, windowLost, false
		}
		if err.cause == causeRefused {
			refusals++
		}
		r.failed(ctx, start, err)
		switch {
		case err.final, refusals >= maxRefusals:
			r.set.Logger.Error("A window's flows cannot be read; they are not in the trail", zap.Time("window", time.Unix(start, 0)), zap.Error(err))
			return nil, windowUnreadable, false
		case start < r.oldest():
			return nil, windowLost, false
		}
		if !r.sleep(ctx, pause.NextBackOff()) {
			return nil, windowLost, false
		}
	}
}

// listOnce asks for exactly one window. Both bounds are multiples of the window: an
// unaligned start would lose the window that it falls into. There is no page size,
// because pages over Goldmane's default order overlap and miss.
func (r *goldmaneReceiver) listOnce(ctx context.Context, start int64) ([]*goldmane.FlowResult, *failure) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ListTimeout)
	defer cancel()
	began := r.clock.Now()
	answer, err := r.flows.List(ctx, &goldmane.FlowListRequest{
		StartTimeGte: start,
		StartTimeLt:  start + r.windowSeconds(),
	})
	if err != nil {
		return nil, classify(err, r.cfg)
	}
	r.count.GoldmaneListDuration.Record(ctx, r.clock.Since(began).Seconds())
	return answer.GetFlows(), nil
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
