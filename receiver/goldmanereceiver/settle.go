package goldmanereceiver

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// step is one of the two in which a window's records are handed on.
type step struct {
	Start    int64 `json:"start"`
	Conclude bool  `json:"conclude"`
}

// nextStep returns the step that is due first, and when; nil where there is none.
func (r *goldmaneReceiver) nextStep() (first *step, due time.Time) {
	for i := range r.state.Held {
		h := &r.state.Held[i]
		at, ok := r.stepDue(h)
		if ok && (first == nil || at.Before(due)) {
			first, due = &step{h.Start, h.Decided}, at
		}
	}
	return first, due
}

// stepDue is when the next step of a held window is due: the zero time where nothing is
// waited for. It is not ok where there is none, or it waits for what is about to be listed.
//
// A neighbour that could not be read is not waited for longer than a window: what rests on
// it is withheld, or, at the end, decided by what is known. One that is next in the queue is
// waited for, however late it is: after an outage there are many, and one that fails among
// them has a window's time from then.
func (r *goldmaneReceiver) stepDue(h *held) (due time.Time, ok bool) {
	if h.Concluded || h.Decided && h.Again {
		return due, false
	}
	last := h.Start + r.reach()
	first, patience := h.Start+r.windowSeconds(), r.settled(last).Add(r.cfg.Window)
	if h.Decided {
		first, patience = h.Start-r.reach(), r.recheckDue(last).Add(r.cfg.Window)
	}
	for at := first; at <= last; at += r.windowSeconds() {
		other := r.state.held(at)
		if !r.state.unread(at) && (!h.Decided || other == nil || !other.Again) {
			continue
		}
		until, failed := r.failedSince(at)
		if !failed {
			return due, false
		}
		due = later(due, later(patience, until.Add(r.cfg.Window)))
	}
	return due, true
}

// failedSince is since when the listing of a window that is to be listed has failed; not
// failed where it has not been tried, or there was no need to. A Goldmane that cannot be
// reached fails for all of them, since it last answered.
func (r *goldmaneReceiver) failedSince(start int64) (since time.Time, failed bool) {
	for _, t := range r.plan.tasks {
		if t.start == start && t.pause != nil {
			return t.failed, true
		}
	}
	return r.listed, r.failing
}

// reach is how far the two ends' reports of one packet may stand apart, in seconds.
func (r *goldmaneReceiver) reach() int64 { return r.cfg.reachWindows() * r.windowSeconds() }

// around calls f with the start of every window within reach of one, itself included, until
// f returns false.
func (r *goldmaneReceiver) around(start int64, f func(start int64) bool) {
	for at := start - r.reach(); at <= start+r.reach(); at += r.windowSeconds() {
		if !f(at) {
			return
		}
	}
}

// moreToCome reports whether some window within reach of one is still to be listed.
func (r *goldmaneReceiver) moreToCome(start int64) bool {
	more := false
	r.around(start, func(at int64) bool {
		h := r.state.held(at)
		more = r.state.unread(at) || h != nil && h.Again
		return !more
	})
	return more
}

// nearOf is what the reports of a window's pairs say in so many windows either way, and
// whether all of those are known.
func (r *goldmaneReceiver) nearOf(start, windows int64) (near pairs, known bool) {
	var others []pairs
	known = true
	far := windows * r.windowSeconds()
	for at := start - far; at <= start+far; at += r.windowSeconds() {
		p := r.parts[at]
		if p == nil || !p.pairs.known {
			known = false
		} else if at != start {
			others = append(others, p.pairs)
		}
	}
	return r.parts[start].pairs.near(others), known
}

// take takes a step: it hands on what there is of a window, and takes note. It returns false
// when ctx has ended.
func (r *goldmaneReceiver) take(ctx context.Context, s step) bool {
	if r.store.keeps {
		// After a crash the step is taken again before anything else, so that it is the same.
		r.state.Doing = &s
		r.save(ctx, r.state)
	}
	r.convert.reset()
	after := r.state.clone()
	after.Doing = nil
	h := after.held(s.Start)
	w, ops := r.decide(ctx, after, h, s)
	rejected, ok := r.deliver(ctx, w)
	if !ok {
		return false
	}
	h.Rejected = h.Rejected || rejected > 0
	if h.Rejected {
		doubt(&h.Known, flowlog.CauseRejected)
	}
	if !r.deliverCoverage(ctx, &h.Known) {
		return false
	}
	r.count.settled(ctx, w, r.convert)
	if h.Known.Final {
		r.count.window(ctx, h.Known.Status)
	}
	after.Blocked = r.state.Blocked
	r.state = after
	p := r.parts[s.Start]
	p.putAway(r.save(ctx, r.state, append(ops, r.forget()...)...))
	return true
}

// decide makes the records of a step, sets what is known of the window, and returns the
// operations that store what is kept of it then.
func (r *goldmaneReceiver) decide(ctx context.Context, after *state, h *held, s step) (*window, []*storage.Operation) {
	p := r.fetch(ctx, h)
	more := r.moreToCome(h.Start)
	near, _ := r.nearOf(h.Start, r.cfg.reachWindows())
	by := settling{near: near, more: more && !s.Conclude, reporters: r.cfg.MergeReporters, late: s.Conclude}
	rows := p.answer
	if s.Conclude {
		rows = p.rest
		by.before = ledger{}
		if l, err := decodeLedger(p.ledger); err == nil {
			by.before = l
		} else {
			r.set.Logger.Error("Cannot read what was handed on of a window; what has counted on in it is left out", zap.Int64("window", h.Start), zap.Error(err))
		}
	}
	w, a, ok := r.open(h.Start, rows)
	if !ok {
		doubt(&h.Known, flowlog.CauseNotRechecked)
	}
	w.settle(by)
	w.order()
	h.Decided, h.Concluded = true, s.Conclude || !more
	h.Known.Final = h.Concluded
	h.Known.Records += int64(len(w.records))
	h.Known.Merged += w.byPolicyOrder + w.byReporter + w.byPolicies
	h.Known.Withheld = 0
	p.answer, p.rest, p.ledger = nil, nil, nil
	if s.Conclude {
		h.Known.Late = int64(len(w.records))
		return w, r.stored(h.Start)
	}
	h.Known.Discarded = w.discarded
	if near, known := r.nearOf(h.Start, r.cfg.silenceWindows()); known {
		h.Known.Pairs, h.Known.OneSided = p.pairs.oneSided(near)
		r.gauges.oneSided.Store(&h.Known)
		after.Silence.note(&h.Known)
	}
	if held := w.heldRows(); len(held) > 0 {
		h.Known.Withheld = int64(len(held))
		p.rest = compressed(a.only(held))
	}
	if h.Again {
		p.ledger = w.all.encode()
	}
	return w, r.stored(h.Start)
}

// stored returns the operations that store the parts of a window that change.
func (r *goldmaneReceiver) stored(start int64) []*storage.Operation {
	p := r.parts[start]
	return []*storage.Operation{put(answerPart, start, p.answer), put(ledgerPart, start, p.ledger), put(restPart, start, p.rest)}
}

// open makes flows of kept rows. It is not ok where they cannot be read, which is said: they
// were read once.
func (r *goldmaneReceiver) open(start int64, kept []byte) (w *window, a answer, ok bool) {
	a, err := uncompressed(kept)
	if err == nil {
		w, err = readWindow(start, a, r.convert, &r.convert.labels)
	}
	if err != nil {
		r.set.Logger.Error("Cannot read what was kept of a window; its records are not in the trail", zap.Int64("window", start), zap.Error(err))
		return &window{start: start, stream: flowlog.StreamFlows, event: flowlog.EventName}, answer{}, false
	}
	return w, a, true
}

// forget drops the held windows that nobody needs any more, and returns the operations that
// remove what is stored of them.
func (r *goldmaneReceiver) forget() []*storage.Operation {
	var ops []*storage.Operation
	r.state.Held = slices.DeleteFunc(r.state.Held, func(h held) bool {
		needed := !h.Concluded
		r.around(h.Start, func(at int64) bool {
			other := r.state.held(at)
			needed = needed || r.state.unread(at) || other != nil && !other.Concluded
			return !needed
		})
		if needed {
			return false
		}
		delete(r.parts, h.Start)
		ops = append(ops, put(pairsPart, h.Start, nil))
		return true
	})
	return ops
}
