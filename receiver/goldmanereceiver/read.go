package goldmanereceiver

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// evidenceKept is how many sealed windows are remembered: more than nodes send again
// after a restart of Goldmane, since those may be whole again.
const evidenceKept = 2 * resentWindows

// perform does one task: it lists the window and keeps what Goldmane answered. It returns
// false when ctx has ended.
func (r *goldmaneReceiver) perform(ctx context.Context, t *task) bool {
	began := r.clock.Now()
	a, failed := r.listAnswer(ctx, t.start)
	r.pace(ctx, r.clock.Since(began))
	if ctx.Err() != nil {
		return false
	}
	if failed == nil && !r.inContact() {
		return true // the connection was made anew: who answered is to be found out first
	}
	keep := r.keepFirst
	if t.recheck {
		keep = r.keepAgain
	}
	if failed == nil && !t.recheck && !r.sayLost(ctx) {
		return false
	}
	if failed == nil {
		// Whether to look again depends on when the window was listed.
		again := !t.recheck && r.cfg.RecheckDelay != 0 && began.Before(r.recheckDue(t.start))
		failed = keep(ctx, t.start, a, again)
	}
	if failed != nil {
		r.failed(ctx, t, failed)
		return true
	}
	r.listed = r.clock.Now()
	r.plan.remove(t)
	if h := r.state.held(t.start); h != nil && h.Again {
		r.plan.add(&task{start: t.start, recheck: true, due: r.recheckDue(t.start)})
	}
	return true
}

// garbled is the failure of an answer that is no message of Goldmane's.
func garbled(err error) *failure {
	return &failure{err: err, cause: causeGarbled, remedy: "is 'endpoint' Goldmane?"}
}

// keepFirst keeps a window's first answer until it can be decided.
func (r *goldmaneReceiver) keepFirst(ctx context.Context, start int64, a answer, again bool) *failure {
	reported, rows, err := pairsOf(start, a)
	if err != nil {
		return garbled(err)
	}
	r.count.GoldmaneFlowsReceived.Add(ctx, int64(rows))
	h := held{Start: start, Again: again, Known: flowlog.Coverage{
		Start: start, End: start + r.windowSeconds(), Status: flowlog.StatusComplete, Flows: int64(rows),
	}}
	if r.state.Resent.has(start) {
		doubt(&h.Known, flowlog.CauseGoldmaneRestart)
	}
	p := &parts{pairs: reported, answer: compressed(a)}
	r.parts[start] = p
	after := r.state
	if start == after.Next {
		after.Next += r.windowSeconds()
	}
	after.Open = without(after.Open, start)
	after.Owed = min(after.Owed, start)
	if rows > 0 {
		after.Evidence = append(after.Evidence, evidence{start, rows})
		after.Evidence = after.Evidence[max(0, len(after.Evidence)-evidenceKept):]
	}
	after.hold(h)
	p.putAway(r.save(ctx, after, put(answerPart, start, p.answer), put(pairsPart, start, p.pairs.encode())))
	return nil
}

// keepAgain keeps what is new in a window that was listed again, until it can be concluded.
//
// Counters that have grown are counted, and not handed on: a node that reconnects sends five
// minutes again, which Goldmane adds up once more. But where a window has keys that it had
// not before, a node had been cut off when it was first listed, and what has grown in it is
// that node's too: it is handed on as the difference. (Exact in the capture of such a cut.
// A second node that reconnects at the same time is counted twice in such a window.)
func (r *goldmaneReceiver) keepAgain(ctx context.Context, start int64, a answer, _ bool) *failure {
	reported, rows, err := pairsOf(start, a)
	if err != nil {
		return garbled(err)
	}
	r.count.GoldmaneFlowsReceived.Add(ctx, int64(rows))
	w, err := readWindow(start, a, r.convert, nil)
	if err != nil {
		return garbled(err)
	}
	h := r.state.held(start)
	p := r.fetch(ctx, h)
	before, err := decodeLedger(p.ledger)
	p.ledger = nil
	h.Again = false
	if err != nil {
		r.set.Logger.Error("Cannot read what was handed on of a window; what has come late in it is not in the trail", zap.Int64("window", start), zap.Error(err))
		doubt(&h.Known, flowlog.CauseNotRechecked)
	} else {
		r.compare(h, p, before, w, a)
	}
	if h.Known.Raised > 0 {
		r.count.GoldmaneFlowsRaised.Add(ctx, h.Known.Raised)
	}
	h.Known.Flows = int64(rows)
	p.pairs = p.pairs.with(reported)
	p.putAway(r.save(ctx, r.state, append(r.stored(start), put(pairsPart, start, p.pairs.encode()))...))
	return nil
}

// compare finds what a second listing has that the first had not.
func (r *goldmaneReceiver) compare(h *held, p *parts, before ledger, w *window, a answer) {
	var late, grown, withheld []int32
	var subtract ledger
	entries := w.ledger()
	for i := range entries {
		now := &entries[i]
		known, ok := before.find(now.key)
		switch {
		case !ok:
			late = append(late, now.flow)
		case known.withheld:
			withheld = append(withheld, now.flow)
			if _, more := known.grown(&now.Counters); more {
				h.Known.Raised++
			}
		default:
			if _, more := known.grown(&now.Counters); more {
				h.Known.Raised++
				grown = append(grown, now.flow)
				subtract = append(subtract, *known)
			}
		}
	}
	if len(late) == 0 {
		return // what was withheld leaves as it was
	}
	// What was withheld is taken as it is now, and what Goldmane has lost meanwhile as it was.
	p.rest = compressed(r.missing(h.Start, p.rest, entries).and(a.only(w.rowsOf(slices.Concat(late, grown, withheld)))))
	p.ledger = subtract.encode()
}

// missing are the kept rows whose keys are not in a ledger.
func (r *goldmaneReceiver) missing(start int64, kept []byte, l ledger) answer {
	w, a, ok := r.open(start, kept)
	if !ok {
		doubt(&r.state.held(start).Known, flowlog.CauseNotRechecked)
	}
	var flows []int32
	for _, e := range w.ledger() {
		if _, ok := l.find(e.key); !ok {
			flows = append(flows, e.flow)
		}
	}
	return a.only(w.rowsOf(flows))
}

// failed makes a failure seen, and decides when to try again. The other windows go on,
// if Goldmane answers at all: makeContact finds that out.
func (r *goldmaneReceiver) failed(ctx context.Context, t *task, err *failure) {
	r.report(ctx, err, zap.Time("window", time.Unix(t.start, 0)))
	if err.noConnection() {
		return // it says nothing about the window
	}
	if t.pause == nil {
		t.pause, t.failed = r.newBackOff(), r.clock.Now()
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
