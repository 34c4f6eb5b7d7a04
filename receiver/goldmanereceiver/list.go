package goldmanereceiver

import (
	"context"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// listAnswer asks for exactly one window. Both bounds are multiples of the window: an
// unaligned start would lose the window that it falls into. There is no page size,
// because pages over Goldmane's default order overlap and miss.
func (r *goldmaneReceiver) listAnswer(ctx context.Context, start int64) (answer, *failure) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ListTimeout)
	defer cancel()
	began := r.clock.Now()
	request := &goldmane.FlowListRequest{StartTimeGte: start, StartTimeLt: start + r.windowSeconds()}
	var a answer
	if err := r.conn.Invoke(ctx, goldmane.Flows_List_FullMethodName, request, &a, grpc.ForceCodecV2(r.codec)); err != nil {
		return a, classify(err, r.cfg)
	}
	r.count.GoldmaneListDuration.Record(ctx, r.clock.Since(began).Seconds())
	r.count.GoldmaneListSize.Record(ctx, int64(len(a.text)))
	return a, nil
}

// report makes a failed call seen: in the counter, in the log, and, once for a run of
// failures, in the component's status.
func (r *goldmaneReceiver) report(ctx context.Context, err *failure, fields ...zap.Field) {
	r.count.listFailed(ctx, err.cause)
	r.failing = true
	if !r.disconnected && err.noConnection() {
		r.disconnected = true
		componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
	}
	r.set.Logger.Warn("Cannot read flows from Goldmane; will try again", append(fields, zap.Error(err))...)
}

// newBackOff spaces the attempts at one thing: exponential, with jitter, endless.
func (r *goldmaneReceiver) newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = r.cfg.Retry.InitialInterval, r.cfg.Retry.MaxInterval
	b.Reset()
	return b
}
