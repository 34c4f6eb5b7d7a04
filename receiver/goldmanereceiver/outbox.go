package goldmanereceiver

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// outbox is what is about to be handed on, and how things stand when it has been. With
// the live lane a window is handed on in parts, and a part that is made anew after a crash
// may differ from the one before: sums would be wrong. So it is stored first, and after
// a crash the very same is handed on.
type outbox struct {
	Logs   [][]byte
	After  state
	Set    map[string][]byte
	Delete []string
}

const outboxKey = "outbox"

// handOn hands on a window's records and what is known of it, if anything, and stores how
// things stand then. It returns false when ctx has ended.
func (r *goldmaneReceiver) handOn(ctx context.Context, w *window, known *flowlog.Coverage, after *state, ops ...*storage.Operation) bool {
	switch {
	case r.cfg.Live:
		if err := r.store.fillOutbox(ctx, w, known, after, ops); err != nil {
			r.set.Logger.Error("Cannot store what is about to be handed on; a crash now would make sums wrong", zap.Error(err))
		}
		ops = append(ops, storage.DeleteOperation(outboxKey))
	case len(w.records) > 0:
		r.state.Begun = w.start
		r.store.save(ctx, r.state)
	}
	after.Begun = w.start
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
	r.state = after
	r.store.save(ctx, r.state, ops...)
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
	box := outbox{After: *after, Set: map[string][]byte{}}
	var marshaler plog.ProtoMarshaler
	add := func(logs plog.Logs) error {
		b, err := marshaler.MarshalLogs(logs)
		box.Logs = append(box.Logs, b)
		return err
	}
	for lo := 0; lo < len(w.records); lo += batchRecords {
		if err := add(w.logs(lo, min(lo+batchRecords, len(w.records)))); err != nil {
			return err
		}
	}
	if known != nil {
		logs, records := newLogs(flowlog.StreamCoverage)
		known.WriteTo(records.AppendEmpty())
		if err := add(logs); err != nil {
			return err
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
	if err := gob.NewEncoder(&b).Encode(box); err != nil {
		return err
	}
	return s.client.Set(ctx, outboxKey, b.Bytes())
}

// emptyOutbox hands on what a crash has left there. It returns the state after it, nil
// where there was none, and is not ok when ctx has ended.
func (r *goldmaneReceiver) emptyOutbox(ctx context.Context) (after *state, ok bool) {
	b, err := r.store.client.Get(ctx, outboxKey)
	if err == nil && b == nil {
		return nil, true
	}
	var box outbox
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(b)).Decode(&box)
	}
	var unmarshaler plog.ProtoUnmarshaler
	for _, encoded := range box.Logs {
		if err != nil {
			break
		}
		var logs plog.Logs
		if logs, err = unmarshaler.UnmarshalLogs(encoded); err != nil {
			err = fmt.Errorf("records: %w", err)
			break
		}
		again := func() plog.Logs {
			logs, _ := unmarshaler.UnmarshalLogs(encoded) // it has just been read
			return logs
		}
		if _, ok := r.deliverBatch(ctx, box.After.Begun, logs.LogRecordCount(), again); !ok {
			return nil, false
		}
	}
	if err != nil {
		r.set.Logger.Error("Cannot read what was about to be handed on before a crash; sums of a window may be wrong", zap.Error(err))
		return nil, true
	}
	ops := []*storage.Operation{storage.DeleteOperation(outboxKey)}
	for key, value := range box.Set {
		ops = append(ops, storage.SetOperation(key, value))
	}
	for _, key := range box.Delete {
		ops = append(ops, storage.DeleteOperation(key))
	}
	r.store.save(ctx, &box.After, ops...)
	return &box.After, true
}
