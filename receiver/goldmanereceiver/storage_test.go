package goldmanereceiver

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// memory is a storage extension, and what makes a crash: it counts what has an effect
// outside of the receiver, writes to it and batches that the sink takes, and after a given
// number of them nothing has.
type memory struct {
	component.StartFunc
	component.ShutdownFunc

	// mu guards what follows.
	mu      sync.Mutex
	kept    map[string][]byte
	effects int
	// last is how many effects there are before the crash; 0 is no crash.
	last int
}

// memorize gives the rig a storage in memory, which holds what it is given.
func (r *rig) memorize(cfg *Config, kept map[string][]byte) *memory {
	m := &memory{kept: kept}
	if kept == nil {
		m.kept = map[string][]byte{}
	}
	id := component.MustNewID("memory")
	r.extensions, cfg.StorageID, r.effect = map[component.ID]component.Component{id: m}, &id, m.effect
	return m
}

// effect reports whether what is about to happen does.
func (m *memory) effect() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.effectLocked()
}

func (m *memory) effectLocked() bool {
	if m.crashedLocked() {
		return false
	}
	m.effects++
	return true
}

func (m *memory) crashedLocked() bool { return m.last > 0 && m.effects >= m.last }

func (m *memory) crashed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.crashedLocked()
}

// mend is the end of a crash.
func (m *memory) mend() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = 0
}

func (m *memory) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.kept))
}

// GetClient implements storage.Extension.
func (m *memory) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	return m, nil
}

// Get, Set, Delete, Batch and Close implement storage.Client.
func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.kept[key]), nil
}

func (m *memory) Set(ctx context.Context, key string, value []byte) error {
	return m.Batch(ctx, storage.SetOperation(key, value))
}

func (m *memory) Delete(ctx context.Context, key string) error {
	return m.Batch(ctx, storage.DeleteOperation(key))
}

func (m *memory) Batch(_ context.Context, ops ...*storage.Operation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.effectLocked() {
		return nil
	}
	for _, op := range ops {
		switch op.Type {
		case storage.Get:
			op.Value = bytes.Clone(m.kept[op.Key])
		case storage.Set:
			m.kept[op.Key] = bytes.Clone(op.Value)
		case storage.Delete:
			delete(m.kept, op.Key)
		}
	}
	return nil
}

func (m *memory) Close(context.Context) error { return nil }
