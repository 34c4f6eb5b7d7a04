package goldmanereceiver

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
)

// batchRecords is how many records go to the pipeline at a time: about 7 MB of
// memory. A window of 50,000 flows whole would be 175 MB.
const batchRecords = 2000

// deliver hands a window on, batch by batch, and returns when the pipeline has taken
// or finally rejected every record, or false when ctx ended first. While the
// pipeline refuses, nothing more is read: the next windows wait in Goldmane's ring.
func (r *goldmaneReceiver) deliver(ctx context.Context, w *window) bool {
	for lo := 0; lo < len(w.records); lo += batchRecords {
		if !r.deliverBatch(ctx, w, lo, min(lo+batchRecords, len(w.records))) {
			return false
		}
	}
	return true
}

func (r *goldmaneReceiver) deliverBatch(ctx context.Context, w *window, lo, hi int) bool {
	pause := r.newBackOff()
	for {
		// Made anew for every attempt: a component that refused may have changed what
		// it was given.
		logs := w.logs(lo, hi)
		op := r.obs.StartLogsOp(ctx)
		err := r.next.ConsumeLogs(op, logs)
		r.obs.EndLogsOp(op, metadata.Type.String(), hi-lo, err)
		if err == nil {
			r.count.GoldmaneRecordsEmitted.Add(ctx, int64(hi-lo))
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		fields := []zap.Field{zap.Time("window", time.Unix(w.start, 0)), zap.Int("records", hi-lo), zap.Error(err)}
		if consumererror.IsPermanent(err) {
			r.count.GoldmaneRecordsRejected.Add(ctx, int64(hi-lo))
			r.set.Logger.Error("The pipeline rejected records for good; they are not in the trail", fields...)
			return true
		}
		r.set.Logger.Warn("The pipeline refuses records; will try again, and later windows wait in Goldmane's ring", fields...)
		if !r.sleep(ctx, pause.NextBackOff()) {
			return false
		}
	}
}
