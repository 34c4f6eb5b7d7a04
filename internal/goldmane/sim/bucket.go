package sim

import (
	"sync"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// entry is a flow key that the ring holds.
type entry struct {
	id      int64
	keyID   string
	key     *goldmane.FlowKey // never changed
	windows []*window         // oldest first
}

// window is one key's traffic in one bucket. The main loop writes it under the
// bucket's lock.
type window struct {
	start, end int64
	sum        contribution
}

// bucket is one window of all keys.
type bucket struct {
	// mu guards the fields below. The main loop is the only writer, so it reads
	// without it. A stream holds it for reading for as long as its client takes to be
	// sent the bucket: that is Goldmane's stall.
	mu         sync.RWMutex
	start, end int64
	windows    map[*entry]*window
	// ready is set when the bucket is streamed and cleared when it is used anew; a
	// backfill leaves out what is not ready.
	ready bool
}

func (b *bucket) add(e *entry, sum *contribution) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.windows[e]; w != nil {
		w.sum.add(sum)
		return
	}
	w := &window{start: b.start, end: b.end, sum: *sum}
	b.windows[e] = w
	e.insert(w)
}

func (b *bucket) markReady() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready = true
}

func (b *bucket) reset(start, end int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.start, b.end, b.ready = start, end, false
	b.windows = make(map[*entry]*window)
}

// each calls f with every row of the bucket, in no order, until f returns false.
func (b *bucket) each(f func(*goldmane.FlowResult) bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if !b.ready {
		return
	}
	for e, w := range b.windows {
		if !f(w.sum.result(e, w.start, w.end)) {
			return
		}
	}
}

// insert keeps the windows in order; nodes' flows for two windows can overtake each other.
func (e *entry) insert(w *window) {
	i := len(e.windows)
	for i > 0 && e.windows[i-1].start > w.start {
		i--
	}
	e.windows = append(e.windows, nil)
	copy(e.windows[i+1:], e.windows[i:])
	e.windows[i] = w
}

// expire forgets the windows that ended at t or earlier and reports whether any is left.
func (e *entry) expire(t int64) bool {
	i := 0
	for i < len(e.windows) && e.windows[i].end <= t {
		i++
	}
	e.windows = e.windows[i:]
	return len(e.windows) > 0
}
