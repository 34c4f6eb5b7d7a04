package goldmanereceiver

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// evidenceKept is how many sealed windows are remembered: more than nodes send again
// after a restart of Goldmane, since those may be whole again.
const evidenceKept = 2 * resentWindows

// perform does one task: list the window, hand on what is new, say what is known of
// it, and take note. It returns false when ctx has ended.
func (r *goldmaneReceiver) perform(ctx context.Context, t *task) bool {
	began := r.clock.Now()
	w, err := r.list(ctx, t)
	r.pace(ctx, r.clock.Since(began))
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		r.failed(ctx, t, err)
		return true
	}
	if !r.inContact() {
		return true // the connection was made anew: who answered is to be found out first
	}
	if !t.recheck && !r.sayLost(ctx) {
		return false
	}
	// Whether to look again depends on when the window was listed, not on when the
	// pipeline took it.
	again := !t.recheck && r.cfg.RecheckDelay != 0 && began.Before(r.recheckDue(t.start))
	r.count.converted(ctx, w, r.convert)
	if r.live[t.start] != nil && !t.recheck {
		r.count.GoldmaneLiveMissed.Add(ctx, int64(len(w.records)))
	}
	known := r.coverage(t, w)
	known.Final = !again
	after, ops := r.after(t, w, again)
	if !r.handOn(ctx, w, &known, after, ops...) {
		return false
	}
	delete(r.live, t.start)
	r.plan.remove(t)
	if again {
		r.plan.add(&task{start: t.start, recheck: true, due: r.recheckDue(t.start), seen: w.all})
	}
	return true
}

// coverage is what is known of a window that has just been listed.
func (r *goldmaneReceiver) coverage(t *task, w *window) flowlog.Coverage {
	known := flowlog.Coverage{
		Start: t.start, End: t.start + r.windowSeconds(),
		Status:    flowlog.StatusComplete,
		Flows:     int64(w.rows),
		Records:   int64(len(w.records)),
		Merged:    w.byPolicyOrder + w.byReporter,
		Discarded: w.discarded,
		Raised:    w.raised,
	}
	if t.recheck || r.live[t.start] != nil {
		known.Late = known.Records
	}
	if r.state.Resent.has(t.start) {
		known.Status, known.Cause = flowlog.StatusPartial, flowlog.CauseGoldmaneRestart
	}
	return known
}

// after is how things stand once a task is done, and what else is to be stored then.
// again is whether its window is to be listed once more.
func (r *goldmaneReceiver) after(t *task, w *window, again bool) (*state, []*storage.Operation) {
	after := r.state.clone()
	if t.recheck {
		after.Recheck = without(after.Recheck, t.start)
		return after, []*storage.Operation{storage.DeleteOperation(ledgerKey(t.start))}
	}
	if t.start == after.Next {
		after.Next += r.windowSeconds()
	}
	after.Open = without(after.Open, t.start)
	after.Owed = min(after.Owed, t.start)
	if w.rows > 0 {
		after.Evidence = append(after.Evidence, evidence{t.start, w.rows})
		after.Evidence = after.Evidence[max(0, len(after.Evidence)-evidenceKept):]
	}
	var ops []*storage.Operation
	if slices.Contains(after.Live, t.start) {
		after.Live = without(after.Live, t.start)
		ops = append(ops, storage.DeleteOperation(countedKey(t.start)))
	}
	if again {
		after.Recheck = append(after.Recheck, t.start)
		ops = append(ops, storage.SetOperation(ledgerKey(t.start), w.all.encode()))
	}
	return after, ops
}

// failed makes a failure seen, and decides when to try again. The other windows go on,
// if Goldmane answers at all: makeContact finds that out.
func (r *goldmaneReceiver) failed(ctx context.Context, t *task, err *failure) {
	r.report(ctx, err, zap.Time("window", time.Unix(t.start, 0)))
	if err.noConnection() {
		return // it says nothing about the window
	}
	if t.pause == nil {
		t.pause = r.newBackOff()
	}
	t.due = r.clock.Now().Add(t.pause.NextBackOff())
	if !t.recheck && t.start == r.state.Next {
		r.state.Next += r.windowSeconds()
		r.state.Open = append(r.state.Open, t.start)
		r.state.Owed = min(r.state.Owed, t.start)
		r.plan.add(t)
		r.save(ctx, r.state)
	}
}

// pace leaves Goldmane its share of time: its main loop does nothing else while it
// answers.
func (r *goldmaneReceiver) pace(ctx context.Context, took time.Duration) {
	rest := time.Duration(float64(took) * (1/r.cfg.MaxListShare - 1))
	r.notBefore = r.clock.Now().Add(rest)
	r.count.GoldmaneListPaced.Add(ctx, rest.Seconds())
}

func without(starts []int64, start int64) []int64 {
	return slices.DeleteFunc(starts, func(s int64) bool { return s == start })
}
