package sim

// ringSize is 240 windows of history, the current one and one of the future.
const ringSize = 242

// ring holds the windows. Only the main loop calls its methods.
type ring struct {
	length  int64 // of a window, seconds
	buckets [ringSize]*bucket
	head    int // index of the newest bucket, which lies in the future

	// rolloverAt is when the next rollover is due, in seconds since the epoch.
	rolloverAt int64

	entries map[string]*entry // by key
	lastID  int64

	toStreams func(*bucket) // is given every bucket once
}

// newRing has the state of a Goldmane that began at the last multiple of length. Its
// ring reaches two windows into the future then, not one: the first rollover comes one
// window later and streams a window that has only just ended, the second two windows
// after the first.
func newRing(length, now, lastID int64, toStreams func(*bucket)) *ring {
	now -= now % length
	r := &ring{
		length: length, rolloverAt: now + length,
		entries: make(map[string]*entry), lastID: lastID, toStreams: toStreams,
	}
	oldest := now + 2*length - (ringSize-1)*length
	for i := range r.buckets {
		start := oldest + int64(i)*length
		r.buckets[i] = &bucket{
			start: start, end: start + length,
			windows: make(map[*entry]*window),
			ready:   start < now,
		}
	}
	r.head = ringSize - 1
	return r
}

// at is the bucket back windows before the newest.
func (r *ring) at(back int) *bucket {
	return r.buckets[(r.head-back+ringSize)%ringSize]
}

// oldest is where the history begins.
func (r *ring) oldest() int64 { return r.at(ringSize - 1).start }

// back is how many windows before the newest t lies, or -1 outside the ring.
func (r *ring) back(t int64) int {
	newest := r.at(0)
	if t >= newest.end || t < r.oldest() {
		return -1
	}
	return int((newest.end - 1 - t) / r.length)
}

// find is the bucket that t falls into, nil outside the ring.
func (r *ring) find(t int64) *bucket {
	if i := r.back(t); i >= 0 {
		return r.at(i)
	}
	return nil
}

// streaming is the index, back from the newest, of the bucket that the next rollover
// streams.
const streaming = 2

// rollover streams the bucket that ended one window ago and begins a new one in the
// place of the oldest.
func (r *ring) rollover() {
	due := r.at(streaming)
	due.markReady()
	r.toStreams(due)

	start := r.at(0).end
	r.head = (r.head + 1) % ringSize
	old := r.at(0)
	gone := old.windows
	old.reset(start, start+r.length)
	for e := range gone {
		if !e.expire(r.oldest()) {
			delete(r.entries, e.keyID)
		}
	}
	r.rolloverAt = start
}

// add puts a flow into its window; false where that lies outside the ring. It waits
// for a stream that is being sent the same window.
func (r *ring) add(a *arrival) bool {
	b := r.find(a.start)
	if b == nil {
		return false
	}
	e := r.entries[a.id]
	if e == nil {
		r.lastID++
		e = &entry{id: r.lastID, keyID: a.id, key: a.key}
		r.entries[a.id] = e
	}
	b.add(e, &a.sum)
	return true
}

// backfill offers the buckets from the one that start falls into up to the one that is
// streamed next, oldest first; none where start is outside the ring. From an unfinished
// bucket the way to the end leads through the whole ring.
func (r *ring) backfill(start int64, offer func(*bucket)) {
	if start == 0 {
		return
	}
	for i := r.back(start); i >= 0 && i != streaming; i = (i - 1 + ringSize) % ringSize {
		offer(r.at(i))
	}
}
