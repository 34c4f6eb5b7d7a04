package goldmanereceiver

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// outbox is what is about to be handed on, and how things stand when it has been. It is
// stored before: Goldmane may answer otherwise when it is asked again after a crash,
// since flows go on counting and the other side's report may have come. So what comes
// after a crash is made of the same answer, and is the same.
type outbox struct {
	Start int64
	// Live: the answer is what the live lane brought of the window.
	Live bool
	// Answer is Goldmane's answer, compressed: 86 to 93 bytes a flow, at 1 µs each
	// (BenchmarkOutbox). Nil where no record came of it.
	Answer []byte
	// Known is what is to be said of the window, if anything.
	Known  *flowlog.Coverage
	After  state
	Set    map[string][]byte
	Delete []string
}

const outboxKey = "outbox"

// handOn hands on a window's records and what is known of it, if anything, and stores how
// things stand then. It returns false when ctx has ended.
func (r *goldmaneReceiver) handOn(ctx context.Context, w *window, known *flowlog.Coverage, after *state, ops ...*storage.Operation) bool {
	if r.store.keeps {
		if err := r.store.fillOutbox(ctx, w, known, after, ops); err != nil {
			r.set.Logger.Error("Cannot store what is about to be handed on; after a crash now, records of one window may come again in another form", zap.Error(err))
		}
		ops = append(ops, storage.DeleteOperation(outboxKey))
	}
	rejected, ok := r.deliver(ctx, w)
	if !ok {
		return false
	}
	if rejected > 0 {
		after.Rejected = append(after.Rejected, w.start)
	}
	if known != nil {
		r.sayRejected(after, known)
		if !r.deliverCoverage(ctx, known) {
			return false
		}
		if known.Final {
			r.count.window(ctx, known.Status)
			after.Rejected = without(after.Rejected, w.start)
		}
	}
	after.Blocked = r.state.Blocked
	r.state = after
	r.save(ctx, r.state, ops...)
	return true
}

// sayRejected says of a window whose records were rejected that it is partial.
func (r *goldmaneReceiver) sayRejected(s *state, known *flowlog.Coverage) {
	for _, start := range s.Rejected {
		if start == known.Start {
			known.Status, known.Cause = flowlog.StatusPartial, flowlog.CauseRejected
		}
	}
}

func (s *store) fillOutbox(ctx context.Context, w *window, known *flowlog.Coverage, after *state, ops []*storage.Operation) error {
	b, err := encodeOutbox(w, known, after, ops)
	if err != nil {
		return err
	}
	return s.client.Set(ctx, outboxKey, b)
}

func encodeOutbox(w *window, known *flowlog.Coverage, after *state, ops []*storage.Operation) ([]byte, error) {
	box := outbox{Start: w.start, Live: w.live, Known: known, After: *after, Set: map[string][]byte{}}
	if len(w.records) > 0 {
		var err error
		if box.Answer, err = compressed(w.answer); err != nil {
			return nil, err
		}
	}
	for _, op := range ops {
		switch op.Type {
		case storage.Set:
			box.Set[op.Key] = op.Value
		case storage.Delete:
			box.Delete = append(box.Delete, op.Key)
		case storage.Get:
		}
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(box)
	return b.Bytes(), err
}

// compressed is block by block: at once it would take as much room as the answer.
func compressed(a answer) ([]byte, error) {
	var b bytes.Buffer
	w := s2.NewWriter(&b, s2.WriterConcurrency(1))
	_, err := w.ReadFrom(strings.NewReader(a.text))
	err = errors.Join(err, w.Close())
	return b.Bytes(), err
}

// emptyOutbox hands on what a crash has left there. It returns false when ctx has ended.
func (r *goldmaneReceiver) emptyOutbox(ctx context.Context) bool {
	box, w, err := r.readOutbox(ctx)
	if err != nil {
		r.set.Logger.Error("Cannot read what was about to be handed on before a crash; it is read from Goldmane again, and may differ from what has been handed on", zap.Error(err))
	}
	if w == nil {
		return true
	}
	var ops []*storage.Operation
	for key, value := range box.Set {
		ops = append(ops, storage.SetOperation(key, value))
	}
	for _, key := range box.Delete {
		ops = append(ops, storage.DeleteOperation(key))
	}
	return r.handOn(ctx, w, box.Known, &box.After, ops...)
}

// readOutbox returns the outbox and its window, nil where there is none.
func (r *goldmaneReceiver) readOutbox(ctx context.Context) (*outbox, *window, error) {
	b, err := r.store.client.Get(ctx, outboxKey)
	if err != nil || b == nil {
		return nil, nil, err
	}
	var box outbox
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&box); err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(s2.NewReader(bytes.NewReader(box.Answer)))
	if err != nil {
		return nil, nil, fmt.Errorf("the answer in it: %w", err)
	}
	before := earlier{seen: r.store.ledger(ctx, box.Start), onlyNew: box.Live}
	if box.Live || slices.Contains(r.state.Live, box.Start) {
		before.live = r.store.counted(ctx, box.Start)
	}
	w, err := newWindow(box.Start, answer{string(text)}, r.convert, r.cfg.MergeReporters, before)
	return &box, w, err
}
