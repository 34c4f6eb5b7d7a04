package goldmanereceiver

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// ledger is what one listing of a window had: the keys of its flows, as Goldmane tells
// them apart once the order of policies is removed, and what each had counted. It is
// ordered by key.
type ledger []entry

// entry is one flow of a ledger.
type entry struct {
	key uint64
	// flow is its place in its window, while there is one.
	flow int32
	// withheld: it has not been handed on yet.
	withheld bool
	flowlog.Counters
}

// find returns a flow's entry, and whether the ledger has it.
func (l ledger) find(key uint64) (*entry, bool) {
	i, ok := slices.BinarySearchFunc(l, key, func(e entry, key uint64) int { return cmp.Compare(e.key, key) })
	if !ok {
		return nil, false
	}
	return &l[i], true
}

func (l ledger) sort() {
	slices.SortFunc(l, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
}

// keyOf returns the hash of a flow's key. pair is the hash of what the flow connects.
func keyOf(pair uint64, f *flowlog.Flow, buf []byte) (uint64, []byte) {
	buf = binary.LittleEndian.AppendUint64(buf[:0], pair)
	for _, s := range [...]string{
		f.Reporter, f.Action, f.Service.Name, f.Service.Namespace, f.Service.PortName,
		f.Egress, f.Ingress, f.EgressPending, f.IngressPending,
	} {
		buf = append(append(buf, s...), 0)
	}
	buf = binary.LittleEndian.AppendUint64(buf, uint64(f.Service.Port))
	return xxhash.Sum64(buf), buf
}

// grown returns what a flow has counted since it was entered. It is not ok where that is
// nothing, or less in any respect: a Goldmane that was restarted may know less than before.
func (e *entry) grown(now *flowlog.Counters) (since flowlog.Counters, ok bool) {
	since = flowlog.Counters{
		SourcePackets:        now.SourcePackets - e.SourcePackets,
		SourceBytes:          now.SourceBytes - e.SourceBytes,
		DestinationPackets:   now.DestinationPackets - e.DestinationPackets,
		DestinationBytes:     now.DestinationBytes - e.DestinationBytes,
		ConnectionsStarted:   now.ConnectionsStarted - e.ConnectionsStarted,
		ConnectionsCompleted: now.ConnectionsCompleted - e.ConnectionsCompleted,
		ConnectionsLive:      now.ConnectionsLive - e.ConnectionsLive,
	}
	counts := [...]int64{
		since.SourcePackets, since.SourceBytes, since.DestinationPackets,
		since.DestinationBytes, since.ConnectionsStarted, since.ConnectionsCompleted,
	}
	return since, slices.Min(counts[:]) >= 0 && slices.Max(counts[:]) > 0
}

// encode writes the ledger in 20 to 30 bytes a flow: it is kept until its window has been
// listed again, with those of the 24 windows behind it.
func (l ledger) encode() []byte {
	b := make([]byte, 0, len(l)*24)
	for i := range l {
		e := &l[i]
		b = binary.LittleEndian.AppendUint64(b, e.key)
		withheld := byte(0)
		if e.withheld {
			withheld = 1
		}
		b = append(b, withheld)
		for _, n := range e.counts() {
			b = binary.AppendVarint(b, *n)
		}
	}
	return b
}

func (e *entry) counts() [7]*int64 {
	return [...]*int64{
		&e.SourcePackets, &e.SourceBytes, &e.DestinationPackets, &e.DestinationBytes,
		&e.ConnectionsStarted, &e.ConnectionsCompleted, &e.ConnectionsLive,
	}
}

// errLedger is returned by decodeLedger for bytes that encode did not write.
var errLedger = errors.New("a ledger must be ordered entries of a key and seven counters")

func decodeLedger(b []byte) (ledger, error) {
	l := ledger{}
	for len(b) > 0 {
		if len(b) < 9 {
			return nil, errLedger
		}
		e := entry{key: binary.LittleEndian.Uint64(b), withheld: b[8] == 1}
		b = b[9:]
		for _, to := range e.counts() {
			v, n := binary.Varint(b)
			if n <= 0 {
				return nil, errLedger
			}
			*to, b = v, b[n:]
		}
		l = append(l, e)
	}
	if !slices.IsSortedFunc(l, func(a, b entry) int { return cmp.Compare(a.key, b.key) }) {
		return nil, errLedger
	}
	return l, nil
}
