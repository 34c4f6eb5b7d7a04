package goldmanereceiver

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
)

// batchRecords is how many records go to the pipeline at a time: about 5 MB of
// memory. A window of 50,000 flows whole would be 120 MB.
const batchRecords = 2000

// deliver hands a window's records on, batch by batch, and returns when the pipeline
// has taken or finally rejected every one, or false when ctx ended first. While the
// pipeline refuses, nothing more is read: the next windows wait in Goldmane's ring.
func (r *goldmaneReceiver) deliver(ctx context.Context, w *window) (rejected int, ok bool) {
	for lo := 0; lo < len(w.records); lo += batchRecords {
		hi := min(lo+batchRecords, len(w.records))
		n, ok := r.deliverBatch(ctx, w.start, hi-lo, func() plog.Logs { return w.logs(lo, hi) })
		if rejected += n; !ok {
			return rejected, false
		}
		if n == 0 && w.event == flowlog.EventName { // previews have a counter of their own
			r.count.GoldmaneRecordsEmitted.Add(ctx, int64(hi-lo))
		}
	}
	return rejected, true
}

// deliverCoverage and deliverGap hand on one record of the coverage stream.
func (r *goldmaneReceiver) deliverCoverage(ctx context.Context, c *flowlog.Coverage) bool {
	return r.deliverOne(ctx, c.Start, c.WriteTo)
}

func (r *goldmaneReceiver) deliverGap(ctx context.Context, g *flowlog.Gap) bool {
	return r.deliverOne(ctx, g.From, g.WriteTo)
}

func (r *goldmaneReceiver) deliverOne(ctx context.Context, start int64, write func(plog.LogRecord)) bool {
	_, ok := r.deliverBatch(ctx, start, 1, func() plog.Logs {
		logs, records := newLogs(flowlog.StreamCoverage)
		write(records.AppendEmpty())
		return logs
	})
	return ok
}

// deliverBatch hands on what batch makes, and goes on trying until the pipeline takes it
// or rejects it for good, which it counts.
func (r *goldmaneReceiver) deliverBatch(ctx context.Context, start int64, records int, batch func() plog.Logs) (rejected int, ok bool) {
	pause := r.newBackOff()
	var since time.Time
	for {
		// Made anew for every attempt: a component that refused may have changed what
		// it was given.
		op := r.obs.StartLogsOp(ctx)
		err := r.next.ConsumeLogs(op, batch())
		r.obs.EndLogsOp(op, metadata.Type.String(), records, err)
		if !since.IsZero() {
			r.blocked(spell{since, r.clock.Now()})
		}
		if err == nil {
			return 0, true
		}
		if ctx.Err() != nil {
			return 0, false
		}
		fields := []zap.Field{zap.Time("window", time.Unix(start, 0)), zap.Int("records", records), zap.Error(err)}
		if consumererror.IsPermanent(err) {
			r.count.GoldmaneRecordsRejected.Add(ctx, int64(records))
			r.set.Logger.Error("The pipeline rejected records for good; they are not in the trail", fields...)
			return records, true
		}
		if since.IsZero() {
			since = r.clock.Now()
		}
		r.gauges.update(r)
		r.stillAlive(ctx)
		r.set.Logger.Warn("The pipeline refuses records; will try again, and later windows wait in Goldmane's ring", fields...)
		if !r.sleep(ctx, pause.NextBackOff()) {
			return 0, false
		}
	}
}

// blocked takes in a spell in which the pipeline refused.
func (r *goldmaneReceiver) blocked(s spell) {
	forgotten := r.clock.Now().Add(-ringWindows * r.cfg.Window)
	if known := &r.state.Blocked; s.length() >= known.length() || known.Until.Before(forgotten) {
		*known = s
	}
}
