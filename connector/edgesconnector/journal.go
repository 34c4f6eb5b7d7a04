package edgesconnector

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// entry is what one call of ConsumeLogs has changed, or that something was handed on, in
// the order in which it was: what a state makes of it is what it was. It takes some thirty
// bytes a record; whole sums would take four times as much.
type entry struct {
	b []byte
	// What was written once is a small number from then on.
	edges    map[uint32]uint64
	policies map[string]uint64
	last     int64 // start of the window that was written last
}

// item is the first byte of each item of an entry.
type item byte

const (
	itemCluster   item = 1 + iota // those that follow are of this one
	itemFlow                      // a flow record
	itemReport                    // a coverage or gap record
	itemSaid                      // rollups, or what closes them, were handed on
	itemAnnounced                 // first_seen events were
)

// Values of an edge's and a policy's reference; others are what was written before, by
// number from refOld on.
const (
	refNone = iota // a policy: none. An edge: written here, and only here
	refNew         // written here, and has the next number
	refOld
)

// sealSize is how many bytes before what an entry says are its checksum.
const sealSize = 4

func newEntry(now int64) *entry {
	return &entry{b: binary.AppendVarint(make([]byte, sealSize), now), edges: map[uint32]uint64{}, policies: map[string]uint64{}}
}

// sealed returns the entry as it is stored: what it says, and a checksum before it.
func (e *entry) sealed() []byte {
	binary.LittleEndian.PutUint32(e.b, crc32.ChecksumIEEE(e.b[sealSize:]))
	return e.b
}

// unsealed returns what a stored entry says.
func unsealed(b []byte) ([]byte, error) {
	if len(b) < sealSize || binary.LittleEndian.Uint32(b) != crc32.ChecksumIEEE(b[sealSize:]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errEntry)
	}
	return b[sealSize:], nil
}

func (e *entry) item(i item) { e.b = append(e.b, byte(i)) }

func (e *entry) uint(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *entry) int(n int64) { e.b = binary.AppendVarint(e.b, n) }

func (e *entry) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *entry) bool(v bool) {
	n := byte(0)
	if v {
		n = 1
	}
	e.b = append(e.b, n)
}

func (e *entry) cluster(c *cluster) {
	e.item(itemCluster)
	e.string(string(c.Resource))
	clear(e.edges)
}

func (e *entry) flow(o *observation, is noted) {
	e.item(itemFlow)
	ref, known := e.edges[is.edge]
	switch {
	case is.overflowed:
		e.uint(refNone)
	case known:
		e.uint(ref)
	default:
		e.uint(refNew)
		e.edges[is.edge] = uint64(len(e.edges)) + refOld
	}
	if is.overflowed || !known {
		e.string(o.edge.Source)
		e.string(o.edge.Destination)
		e.int(o.edge.Port)
		e.string(o.edge.Transport)
		e.string(o.edge.Action)
	}
	e.int(o.start - e.last)
	e.last = o.start
	e.int(o.end - o.start)
	e.b = binary.LittleEndian.AppendUint64(e.b, o.key)
	e.bool(o.twin)
	c := &o.counters
	for _, n := range [...]int64{
		c.SourcePackets, c.SourceBytes, c.DestinationPackets, c.DestinationBytes, c.ConnectionsStarted, c.ConnectionsCompleted,
	} {
		e.uint(uint64(n))
	}
	ref, known = e.policies[o.deciding]
	switch {
	case o.deciding == "":
		e.uint(refNone)
	case known:
		e.uint(ref)
	default:
		e.uint(refNew)
		e.policies[o.deciding] = uint64(len(e.policies)) + refOld
		e.string(o.deciding)
	}
}

func (e *entry) report(r *report) {
	e.item(itemReport)
	e.int(r.from)
	e.int(r.to)
	e.int(r.window)
	e.uint(uint64(r.status))
	e.bool(r.final)
}

func (e *entry) said(p *parcel) {
	e.item(itemSaid)
	e.uint(uint64(p.grain))
	e.int(p.interval)
	e.int(p.closing)
	e.bool(p.rejected)
	e.uint(uint64(len(p.edges)))
	for i, n := range p.edges {
		e.uint(uint64(n))
		e.int(p.sequences[i])
	}
}

func (e *entry) announced(p *parcel) {
	e.item(itemAnnounced)
	e.uint(uint64(len(p.edges)))
	for _, n := range p.edges {
		e.uint(uint64(n))
	}
}

// errEntry is returned, wrapped, by state.replay for bytes that no entry has.
var errEntry = errors.New("an entry of the journal cannot be read")

// replay does what an entry says, as unsealed returns it.
func (s *state) replay(b []byte) error {
	r := entryReader{b: b}
	now := r.int()
	var c *cluster
	for r.err == nil && len(r.b) > 0 {
		i := item(r.byte())
		if i == itemCluster {
			c = s.cluster([]byte(r.string()))
			r.edges = r.edges[:0]
			continue
		}
		if c == nil {
			return fmt.Errorf("%w: item %d of no cluster", errEntry, i)
		}
		switch i {
		case itemFlow:
			var o observation
			r.flow(&o)
			if r.err != nil {
				return r.err
			}
			if !isWindow(o.start, o.end) {
				return fmt.Errorf("%w: a window from %d to %d", errEntry, o.start, o.end)
			}
			o.twin = o.twin && s.Version == stateVersion // the byte said something else before
			c.flow(&o, now)
		case itemReport:
			rep := report{from: r.int(), to: r.int(), window: r.int(), status: status(r.uint()), final: r.bool()}
			if r.err != nil {
				return r.err
			}
			if !rep.sound() {
				return fmt.Errorf("%w: windows of %d s from %d to %d", errEntry, rep.window, rep.from, rep.to)
			}
			c.coverage(&rep, now)
		case itemSaid:
			c.said(r.said())
		case itemAnnounced:
			c.said(r.announced())
		default:
			return fmt.Errorf("%w: item %d", errEntry, i)
		}
	}
	s.sweep()
	return r.err
}

// entryReader takes an entry apart. After an error all that it returns is empty.
type entryReader struct {
	b        []byte
	err      error
	edges    []observation // of which only the edge
	policies []string
	last     int64
}

func (r *entryReader) fail() {
	r.b, r.err = nil, fmt.Errorf("%w: it is cut short", errEntry)
}

func (r *entryReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *entryReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *entryReader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *entryReader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *entryReader) bool() bool { return r.byte() == 1 }

func (r *entryReader) string() string { return string(r.take(r.uint())) }

func (r *entryReader) flow(o *observation) {
	switch ref := r.uint(); {
	case ref >= refOld && ref-refOld < uint64(len(r.edges)):
		o.edge = r.edges[ref-refOld].edge
	case ref >= refOld:
		r.fail()
		return
	default:
		o.edge.Source, o.edge.Destination = r.string(), r.string()
		o.edge.Port = r.int()
		o.edge.Transport, o.edge.Action = r.string(), r.string()
		if ref == refNew {
			r.edges = append(r.edges, *o)
		}
	}
	r.last += r.int()
	o.start = r.last
	o.end = o.start + r.int()
	if b := r.take(8); b != nil {
		o.key = binary.LittleEndian.Uint64(b)
	}
	o.twin = r.bool()
	c := &o.counters
	for _, n := range [...]*int64{
		&c.SourcePackets, &c.SourceBytes, &c.DestinationPackets, &c.DestinationBytes, &c.ConnectionsStarted, &c.ConnectionsCompleted,
	} {
		*n = int64(r.uint())
	}
	switch ref := r.uint(); {
	case ref == refNone:
	case ref == refNew:
		o.deciding = r.string()
		r.policies = append(r.policies, o.deciding)
	case ref-refOld < uint64(len(r.policies)):
		o.deciding = r.policies[ref-refOld]
	default:
		r.fail()
	}
}

func (r *entryReader) said() *parcel {
	p := &parcel{}
	if g := r.uint(); g < uint64(grains) {
		p.grain = grain(g)
	} else {
		r.fail()
	}
	p.interval, p.closing, p.rejected = r.int(), r.int(), r.bool()
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		p.edges = append(p.edges, uint32(r.uint()))
		p.sequences = append(p.sequences, r.int())
	}
	return p
}

func (r *entryReader) announced() *parcel {
	p := &parcel{news: true}
	for n := r.uint(); n > 0 && r.err == nil; n-- {
		p.edges = append(p.edges, uint32(r.uint()))
	}
	return p
}
