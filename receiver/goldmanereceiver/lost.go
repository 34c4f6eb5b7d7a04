package goldmanereceiver

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// accountForLost says which windows have left Goldmane's ring, if any, and why. It
// reports whether the plan has changed, and is not ok when ctx has ended.
func (r *goldmaneReceiver) accountForLost(ctx context.Context) (changed, ok bool) {
	r.giveUp(r.oldest(), r.whyLost)
	ended, ok := r.endRechecks(ctx)
	if !ok || len(r.state.Lost) == 0 {
		return ended, ok
	}
	// What is lost is stored before it is handed on: after a crash in between the very
	// same is handed on again.
	r.store.save(ctx, r.state)
	for len(r.state.Lost) > 0 {
		if !r.deliverLost(ctx, r.state.Lost[0]) {
			return false, false
		}
		r.state.Lost = r.state.Lost[1:]
		r.store.save(ctx, r.state)
	}
	return true, true
}

// deliverLost says of a run of windows that it is lost.
func (r *goldmaneReceiver) deliverLost(ctx context.Context, lost lostRun) bool {
	fields := []zap.Field{zap.Time("from", time.Unix(lost.From, 0)), zap.Time("to", time.Unix(lost.To, 0)), zap.String("cause", lost.Cause)}
	if lost.Torn {
		r.set.Logger.Error("A window was handed on in part, and can never be read again", fields...)
		r.count.window(ctx, flowlog.StatusPartial)
		return r.deliverCoverage(ctx, &flowlog.Coverage{
			Start: lost.From, End: lost.To, Status: flowlog.StatusPartial, Cause: lost.Cause, Final: true,
		})
	}
	r.set.Logger.Error("Windows can never be read; their flows are not in the trail", append(fields, zap.Int64("windows", lost.Windows()))...)
	r.count.lost(ctx, lost.Windows())
	return r.deliverGap(ctx, &lost.Gap)
}

// giveUp makes gaps of all unread windows before the given one, one gap for a run of
// windows with one cause.
func (r *goldmaneReceiver) giveUp(before int64, why func(start int64) string) {
	window := r.windowSeconds()
	var lost []int64
	for _, start := range r.state.Open {
		if start < before {
			lost = append(lost, start)
		}
	}
	for ; r.state.Next < before; r.state.Next += window {
		lost = append(lost, r.state.Next)
	}
	if len(lost) == 0 {
		return
	}
	r.state.Open = slices.DeleteFunc(r.state.Open, func(start int64) bool { return start < before })
	r.plan.tasks = slices.DeleteFunc(r.plan.tasks, func(t *task) bool { return !t.recheck && t.start < before })
	for _, start := range lost {
		run := lostRun{Gap: flowlog.Gap{From: start, To: start + window, Window: window, Cause: why(start)}, Torn: start == r.state.Begun || slices.Contains(r.state.Live, start)}
		if last := len(r.state.Lost) - 1; last >= 0 && r.state.Lost[last].continues(run) {
			r.state.Lost[last].To = run.To
			continue
		}
		r.state.Lost = append(r.state.Lost, run)
	}
	r.state.Live = slices.DeleteFunc(r.state.Live, func(start int64) bool { return !r.state.unread(start) })
	for start := range r.live {
		if !r.state.unread(start) {
			delete(r.live, start)
		}
	}
}

// continues reports whether next is of the same run.
func (l lostRun) continues(next lostRun) bool {
	return !l.Torn && !next.Torn && l.To == next.From && l.Cause == next.Cause
}

// whyLost says why a window left the ring unread, by what went on when it did.
func (r *goldmaneReceiver) whyLost(start int64) string {
	left := time.Unix(start, 0).Add(ringWindows * r.cfg.Window)
	switch {
	case left.Before(r.started):
		return flowlog.CauseReceiverDown
	case !left.Before(r.blocked.since) && !left.After(r.blocked.until):
		return flowlog.CauseDownstreamBlocked
	default:
		return flowlog.CauseRingOverrun
	}
}

// endRechecks gives the final word on windows that were read and cannot be listed
// again: they have left the ring, or Goldmane has lost them.
func (r *goldmaneReceiver) endRechecks(ctx context.Context) (ended, ok bool) {
	for _, t := range slices.Clone(r.plan.tasks) {
		if !t.recheck {
			continue
		}
		var cause string
		switch {
		case t.start < r.oldest():
			cause = flowlog.CauseNotRechecked
		case t.start < r.state.Resent.From:
			cause = flowlog.CauseGoldmaneRestart // else it would be in a gap
		default:
			continue
		}
		known := flowlog.Coverage{
			Start: t.start, End: t.start + r.windowSeconds(), Status: flowlog.StatusPartial, Cause: cause, Final: true,
			Flows: int64(len(t.seen)),
		}
		if !r.deliverCoverage(ctx, &known) {
			return ended, false
		}
		ended = true
		r.count.window(ctx, known.Status)
		r.plan.remove(t)
		r.state.Recheck = without(r.state.Recheck, t.start)
		r.store.save(ctx, r.state, storage.DeleteOperation(ledgerKey(t.start)))
	}
	return ended, true
}
