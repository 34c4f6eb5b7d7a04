package goldmanereceiver

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

const (
	// resentWindows is how many windows' flows a node keeps and sends again to a
	// Goldmane that it connects to: Felix keeps them for five minutes.
	resentWindows = 20
	// resentAfter is how many windows after a restart the nodes have reconnected and
	// sent: two minutes.
	resentAfter = 8
)

// inContact reports whether the Goldmane at the other end is the one whose ring is
// known, and answers: no call has failed, and no connection was lost or made, since that
// was found out. A failed call asks the question again, which tells a window that cannot
// be read from a Goldmane that cannot.
func (r *goldmaneReceiver) inContact() bool {
	return !r.failing && r.connections.Load() == r.vouched && r.vouched > 0
}

// makeContact finds out whether Goldmane is there, and whether it still has what it
// had. A connection that was lost says nothing about that: a proxy may have closed it,
// and a Goldmane that was restarted between two calls may not be missed. So a sealed
// window is listed, whose rows can only have grown more. It returns false where
// Goldmane cannot be reached.
func (r *goldmaneReceiver) makeContact(ctx context.Context) bool {
	proof := r.proof()
	a, err := r.listAnswer(ctx, proof.Start)
	connections := r.connections.Load()
	if ctx.Err() != nil {
		return false
	}
	if err != nil && err.cause != causeTooLarge {
		r.report(ctx, err)
		r.notBefore = r.clock.Now().Add(r.pause.NextBackOff())
		r.stillAlive(ctx)
		return false
	}
	r.pause.Reset()
	if r.vouched > 0 && connections != r.vouched {
		r.count.GoldmaneReconnects.Add(ctx, 1)
	}
	r.vouched, r.failing = connections, false
	if r.disconnected {
		r.disconnected = false
		r.set.Logger.Info("Reading flows from Goldmane again")
		componentstatus.ReportStatus(r.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
	if err == nil && a.count() < proof.Rows {
		r.restarted(ctx, proof, a.count())
	}
	return true
}

// proof returns the sealed window to ask for: the newest that nodes would not send
// again, or else the newest, or any window and no expectation.
func (r *goldmaneReceiver) proof() evidence {
	oldest, resent := r.oldest(), r.resentFrom()
	best := evidence{Start: r.clock.Now().Unix()/r.windowSeconds()*r.windowSeconds() - 2*r.windowSeconds()}
	for _, e := range r.state.Evidence {
		if e.Start >= oldest && (best.Rows == 0 || e.Start < resent) {
			best = e
		}
	}
	return best
}

// resentFrom is the start of the oldest window that nodes would send again now.
func (r *goldmaneReceiver) resentFrom() int64 {
	now := r.clock.Now().Unix()
	return now - now%r.windowSeconds() - resentWindows*r.windowSeconds()
}

// restarted takes in that Goldmane has lost its ring. What was unread is lost, but for
// the last windows, which the nodes send again: they are read when that has had time
// to arrive. What was read is final as it is.
func (r *goldmaneReceiver) restarted(ctx context.Context, proof evidence, rows int) {
	from := r.resentFrom()
	r.set.Logger.Warn("Goldmane has lost its flows: it was restarted. The last windows are read again when the nodes have sent them again",
		zap.Time("window", time.Unix(proof.Start, 0)), zap.Int("rows", rows), zap.Int("rows before", proof.Rows))
	r.count.GoldmaneRestarts.Add(ctx, 1)
	window := r.windowSeconds()
	r.state.Evidence = nil
	now := r.clock.Now()
	r.state.Resent = resent{From: from, To: now.Unix() - now.Unix()%window + window, Due: now.Add(resentAfter * r.cfg.Window)}
	r.giveUp(from, func(int64) string { return flowlog.CauseGoldmaneRestart })
	for _, t := range r.plan.tasks {
		if r.state.Resent.has(t.start) {
			t.due = later(t.due, r.state.Resent.Due)
		}
	}
	r.save(ctx, r.state)
}
