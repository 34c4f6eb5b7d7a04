package goldmanereceiver

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// pairs is what was reported in one window of each pair: Goldmane's two ends, the port and
// the transport, whatever the policies and the Service. 9 bytes a pair. In order of hash.
type pairs struct {
	// known is false for a window of which nothing was kept.
	known  bool
	hashes []uint64
	said   []reports
}

// pairBytes is the size of a pair in storage.
const pairBytes = 9

// pairsOf reads the pairs of an answer for the window that starts at start. It reads neither
// labels nor policies, which are the greater part of a row.
func pairsOf(start int64, a answer) (pairs, int, error) {
	type seen struct {
		hash uint64
		said reports
	}
	all, rows := make([]seen, 0, a.count()), 0
	var buf []byte
	err := a.eachFlow(nil, func(row *wireFlow) {
		rows++
		if !row.hasKey || row.start != start {
			return
		}
		var hash uint64
		hash, buf = row.pair(buf)
		all = append(all, seen{hash, row.reports()})
	})
	if err != nil {
		return pairs{}, 0, err
	}
	slices.SortFunc(all, func(a, b seen) int { return cmp.Compare(a.hash, b.hash) })
	n := 0
	for i, s := range all {
		if i == 0 || s.hash != all[i-1].hash {
			n++
		}
	}
	p := pairs{known: true, hashes: make([]uint64, 0, n), said: make([]reports, 0, n)}
	for _, s := range all {
		if last := len(p.hashes) - 1; last >= 0 && p.hashes[last] == s.hash {
			p.said[last] |= s.said
			continue
		}
		p.hashes, p.said = append(p.hashes, s.hash), append(p.said, s.said)
	}
	return p, rows, nil
}

// pair returns the hash of what a row connects.
func (f *wireFlow) pair(buf []byte) (uint64, []byte) {
	buf = appendEnd(buf[:0], f.sourceType, f.sourceNamespace, f.sourceName)
	buf = appendEnd(buf, f.destType, f.destNamespace, f.destName)
	transport := strings.ToLower(normal(f.proto))
	buf = append(append(buf, transport...), 0)
	port := f.destPort
	if strings.HasPrefix(transport, "icmp") { // nodes pack type and code in several ways
		of := flowlog.Flow{Transport: transport}
		of.SetPort(port)
		port = int64(of.ICMP)
	}
	buf = binary.LittleEndian.AppendUint64(buf, uint64(port))
	return xxhash.Sum64(buf), buf
}

// appendEnd appends what identifies one end. Its type does: a host and a network set may
// have one name.
func appendEnd(buf []byte, kind goldmane.EndpointType, namespace, name string) []byte {
	namespace, name = normal(namespace), normal(name)
	if kind == goldmane.EndpointType_NetworkSet {
		namespace, name = networkSet(namespace, name)
	}
	buf = append(binary.AppendUvarint(buf, uint64(uint32(kind))), namespace...)
	return append(append(append(buf, 0), name...), 0)
}

// reports is what one row says of its pair.
func (f *wireFlow) reports() reports {
	var said reports
	packets := f.packetsIn != 0 || f.packetsOut != 0
	switch f.reporter {
	case goldmane.Reporter_Src:
		if packets {
			said |= sourceSent
			if f.action == goldmane.Action_Allow {
				said |= sourceAllowed
			}
		}
	case goldmane.Reporter_Dst:
		if packets {
			said |= destinationGot
		}
		switch {
		case f.action == goldmane.Action_Allow:
			said |= destinationAllowed
		case f.action == goldmane.Action_Deny && packets:
			said |= destinationDenied
		}
	default: // a number that nobody knows is no evidence
	}
	if normal(f.service.name) != "" {
		said |= serviceNamed
	}
	if f.sourceType == goldmane.EndpointType_WorkloadEndpoint && f.destType == goldmane.EndpointType_WorkloadEndpoint {
		said |= betweenWorkloads
	}
	return said
}

// near is what the reports of each of p's pairs say in p's window and in the others, in p's
// order.
func (p pairs) near(others []pairs) pairs {
	all := pairs{hashes: p.hashes, said: slices.Clone(p.said)}
	for _, other := range others {
		at := 0
		for i, hash := range p.hashes {
			for at < len(other.hashes) && other.hashes[at] < hash {
				at++
			}
			if at < len(other.hashes) && other.hashes[at] == hash {
				all.said[i] |= other.said[at]
			}
		}
	}
	return all
}

// of is what is said of a pair.
func (p pairs) of(hash uint64) reports {
	if i, ok := slices.BinarySearch(p.hashes, hash); ok {
		return p.said[i]
	}
	return 0
}

// with is p and what another listing of the same window said.
func (p pairs) with(later pairs) pairs {
	all := pairs{known: true}
	for len(p.hashes) > 0 || len(later.hashes) > 0 {
		switch {
		case len(later.hashes) == 0 || len(p.hashes) > 0 && p.hashes[0] < later.hashes[0]:
			all.hashes, all.said = append(all.hashes, p.hashes[0]), append(all.said, p.said[0])
			p.hashes, p.said = p.hashes[1:], p.said[1:]
		case len(p.hashes) == 0 || later.hashes[0] < p.hashes[0]:
			all.hashes, all.said = append(all.hashes, later.hashes[0]), append(all.said, later.said[0])
			later.hashes, later.said = later.hashes[1:], later.said[1:]
		default:
			all.hashes, all.said = append(all.hashes, p.hashes[0]), append(all.said, p.said[0]|later.said[0])
			p.hashes, p.said = p.hashes[1:], p.said[1:]
			later.hashes, later.said = later.hashes[1:], later.said[1:]
		}
	}
	return all
}

// oneSided counts the pairs of workloads with packets in the window, and those of them that
// only one end has reported within reach.
func (p pairs) oneSided(near pairs) (all, oneSided int64) {
	for i, said := range p.said {
		if !said.has(betweenWorkloads) || !said.any(sourceAllowed|destinationGot) {
			continue
		}
		all++
		silentDestination := said.any(sourceAllowed) && !near.said[i].any(destinationAllowed|destinationDenied)
		silentSource := said.any(destinationGot) && !near.said[i].any(sourceSent)
		if silentDestination || silentSource {
			oneSided++
		}
	}
	return all, oneSided
}

func (p pairs) encode() []byte {
	b := append(make([]byte, 0, 1+len(p.hashes)*pairBytes), pairsVersion)
	for i, hash := range p.hashes {
		b = append(binary.LittleEndian.AppendUint64(b, hash), byte(p.said[i]))
	}
	return b
}

// pairsVersion is the first byte of what encode writes.
const pairsVersion = 1

// errPairs is returned by decodePairs for bytes that encode did not write.
var errPairs = errors.New("what was reported of a window's pairs must be a version and ordered entries of 9 bytes")

// decodePairs reads what encode wrote; of nothing, nothing is known.
func decodePairs(b []byte) (pairs, error) {
	if len(b) == 0 {
		return pairs{}, nil
	}
	if b[0] != pairsVersion || (len(b)-1)%pairBytes != 0 {
		return pairs{}, errPairs
	}
	p := pairs{known: true}
	for b = b[1:]; len(b) > 0; b = b[pairBytes:] {
		p.hashes = append(p.hashes, binary.LittleEndian.Uint64(b))
		p.said = append(p.said, reports(b[8]))
	}
	if !slices.IsSorted(p.hashes) {
		return pairs{}, errPairs
	}
	return p, nil
}
