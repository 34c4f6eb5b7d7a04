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
type ledger []seen

// seen is one flow of a ledger, 16 bytes in memory and in storage.
type seen struct {
	key uint64
	// total is packets, bytes and connections together. It is only ever compared.
	total uint64
}

// find returns what the flow had counted, and whether the ledger has it.
func (l ledger) find(key uint64) (total uint64, ok bool) {
	i, ok := slices.BinarySearchFunc(l, key, func(s seen, key uint64) int { return cmp.Compare(s.key, key) })
	if !ok {
		return 0, false
	}
	return l[i].total, true
}

func (l ledger) sort() {
	slices.SortFunc(l, func(a, b seen) int { return cmp.Compare(a.key, b.key) })
}

// seenOf returns a flow's entry. edge is the hash of what the flow connects.
func seenOf(edge uint64, f *flowlog.Flow, buf []byte) (seen, []byte) {
	buf = binary.LittleEndian.AppendUint64(buf[:0], edge)
	for _, s := range [...]string{
		f.Reporter, f.Action, f.Service.Name, f.Service.Namespace, f.Service.PortName,
		f.Egress, f.Ingress, f.EgressPending, f.IngressPending,
	} {
		buf = append(append(buf, s...), 0)
	}
	buf = binary.LittleEndian.AppendUint64(buf, uint64(f.Service.Port))
	c := &f.Counters
	return seen{
		key: xxhash.Sum64(buf),
		total: uint64(c.SourcePackets + c.SourceBytes + c.DestinationPackets + c.DestinationBytes +
			c.ConnectionsStarted + c.ConnectionsCompleted),
	}, buf
}

func (l ledger) encode() []byte {
	b := make([]byte, 0, len(l)*16)
	for _, s := range l {
		b = binary.LittleEndian.AppendUint64(b, s.key)
		b = binary.LittleEndian.AppendUint64(b, s.total)
	}
	return b
}

// errLedger is returned by decodeLedger for bytes that encode did not write.
var errLedger = errors.New("a ledger must be ordered entries of 16 bytes")

func decodeLedger(b []byte) (ledger, error) {
	if len(b)%16 != 0 {
		return nil, errLedger
	}
	l := make(ledger, 0, len(b)/16)
	for ; len(b) > 0; b = b[16:] {
		l = append(l, seen{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])})
	}
	if !slices.IsSortedFunc(l, func(a, b seen) int { return cmp.Compare(a.key, b.key) }) {
		return nil, errLedger
	}
	return l, nil
}
