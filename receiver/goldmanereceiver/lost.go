package goldmanereceiver

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// accountForLost decides which windows have left Goldmane's ring, if any, and why. It
// reports whether the plan has changed. What is lost is said when a window after it has been read: only then has the run an end.
func (r *goldmaneReceiver) accountForLost(ctx context.Context) (changed bool) {
	lost := r.giveUp(r.oldest(), r.whyLost)
	if lost {
		r.save(ctx, r.state)
	}
	ended := r.endRechecks(ctx)
	return lost || ended
}

// sayLost says what is lost. It returns false when ctx has ended.
func (r *goldmaneReceiver) sayLost(ctx context.Context) bool {
	if len(r.state.Lost) == 0 {
		return true
	}
	// What is about to be said is stored before: after a crash in between the very same
	// is said again, even if more has been lost since.
	for i := range r.state.Lost {
		r.state.Lost[i].Said = true
	}
	r.save(ctx, r.state)
	for len(r.state.Lost) > 0 {
		if !r.deliverLost(ctx, r.state.Lost[0]) {
			return false
		}
		r.state.Lost = r.state.Lost[1:]
		r.save(ctx, r.state)
	}
	return true
}

// deliverLost says of a run of windows that it is lost.
func (r *goldmaneReceiver) deliverLost(ctx context.Context, lost lostRun) bool {
	fields := []zap.Field{zap.Time("from", time.Unix(lost.From, 0)), zap.Time("to", time.Unix(lost.To, 0)), zap.String("cause", lost.Cause)}
	r.set.Logger.Error("Windows can never be read; their flows are not in the trail", append(fields, zap.Int64("windows", lost.Windows()))...)
	r.count.lost(ctx, lost.Windows())
	return r.deliverGap(ctx, &lost.Gap)
}

// giveUp makes gaps of all unread windows before the given one, one gap for a run of
// windows with one cause. It reports whether there were any.
func (r *goldmaneReceiver) giveUp(before int64, why func(start int64) string) bool {
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
		return false
	}
	r.state.Open = slices.DeleteFunc(r.state.Open, func(start int64) bool { return start < before })
	r.plan.tasks = slices.DeleteFunc(r.plan.tasks, func(t *task) bool { return !t.recheck && t.start < before })
	for _, start := range lost {
		if start < r.state.Owed {
			continue
		}
		run := lostRun{Gap: flowlog.Gap{From: start, To: start + window, Window: window, Cause: why(start)}}
		if last := len(r.state.Lost) - 1; last >= 0 && r.state.Lost[last].continues(run) {
			r.state.Lost[last].To = run.To
			continue
		}
		r.state.Lost = append(r.state.Lost, run)
	}
	return true
}

// continues reports whether next is of the same run.
func (l lostRun) continues(next lostRun) bool {
	return !l.Said && l.To == next.From && l.Cause == next.Cause
}

// whyLost says why a window left the ring unread: by what went on when it did, or else,
// since what follows an outage is read in a hurry and may be read too late, by what went
// on for most of the time that it could have been read.
func (r *goldmaneReceiver) whyLost(start int64) string {
	readable := spell{r.settled(start), time.Unix(start, 0).Add(ringWindows * r.cfg.Window)}
	half := readable.length() / 2
	switch {
	case r.down.has(readable.Until):
		return flowlog.CauseReceiverDown
	case r.state.Blocked.has(readable.Until):
		return flowlog.CauseDownstreamBlocked
	case readable.common(r.down) > half:
		return flowlog.CauseReceiverDown
	case readable.common(r.state.Blocked) > half:
		return flowlog.CauseDownstreamBlocked
	default:
		return flowlog.CauseRingOverrun
	}
}

// endRechecks gives up listing windows again that have left the ring, or that Goldmane has
// lost. They are concluded as they are.
func (r *goldmaneReceiver) endRechecks(ctx context.Context) (ended bool) {
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
		ended = true
		r.plan.remove(t)
		h, p := r.state.held(t.start), r.parts[t.start]
		h.Again, p.ledger = false, nil
		doubt(&h.Known, cause)
		r.save(ctx, r.state, put(ledgerPart, t.start, nil))
	}
	return ended
}
