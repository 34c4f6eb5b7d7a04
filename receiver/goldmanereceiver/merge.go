package goldmanereceiver

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// merged counts what merging did.
type merged struct {
	// Flows that became part of another flow's record.
	byReporter, byPolicyOrder int64
	// raised counts flows that were known already and have counted more since.
	raised int64
}

// earlier is what has been handed on of a window before. The zero value is nothing.
type earlier struct {
	// seen is the ledger of the first listing: its flows are left out.
	seen ledger
	// live is what the live lane handed on: it is subtracted, or, where onlyNew is true,
	// left out whole.
	live    counted
	onlyNew bool
}

// remains reports whether there is something to hand on of a flow, and makes f that.
func (e *earlier) remains(s seen, f *flowlog.Flow, m *merged) bool {
	if total, ok := e.seen.find(s.key); ok {
		if s.total > total {
			m.raised++
		}
		return false
	}
	if _, ok := e.live[s.key]; ok && e.onlyNew {
		return false
	}
	rest, ok := e.live.remaining(s.key, f.Counters)
	if ok {
		f.Counters = rest
	}
	return ok
}

// whole is what merge makes of a window's flows.
type whole struct {
	// left are the indices of the flows to hand on, in no order that means anything, and
	// keys their keys, where reporters are not merged.
	left []int32
	keys []uint64
	// all is the ledger of all flows.
	all ledger
	merged
}

// merge makes one flow of those that are one: keys that differ only in what
// canonical form removes (the order of policies), and, where reporters is true, the
// two sides' reports of the same traffic. What was handed on earlier is left out. It
// works in place, since a flow is half a kilobyte.
func merge(flows []flowlog.Flow, reporters bool, before earlier) whole {
	order := groups(flows)
	w := whole{left: make([]int32, 0, len(flows)), all: make(ledger, 0, len(flows))}
	var buf []byte
	for len(order) > 0 {
		// One group: all flows between the same two endpoints on one port.
		n := 1
		for n < len(order) && order[n].hash == order[0].hash && compareEdges(&flows[order[n].at], &flows[order[0].at]) == 0 {
			n++
		}
		from := len(w.left)
		for _, o := range order[:n] {
			f := &flows[o.at]
			if last := len(w.left) - 1; last >= from && compareVerdicts(&flows[w.left[last]], f) == 0 {
				absorb(&flows[w.left[last]], f)
				w.byPolicyOrder++
				continue
			}
			w.left = append(w.left, o.at)
		}
		kept := w.left[:from]
		for _, i := range w.left[from:] {
			var s seen
			s, buf = seenOf(order[0].hash, &flows[i], buf)
			w.all = append(w.all, s)
			if before.remains(s, &flows[i], &w.merged) {
				kept = append(kept, i)
				if !reporters {
					w.keys = append(w.keys, s.key)
				}
			}
		}
		w.left = kept
		if reporters && len(w.left)-from > 1 {
			n := len(w.left)
			w.left = append(w.left[:from], mergeReporters(flows, w.left[from:])...)
			w.byReporter += int64(n - len(w.left))
		}
		order = order[n:]
	}
	w.all.sort()
	return w
}

// grouped is a flow's place and the hash of its edge.
type grouped struct {
	hash uint64
	at   int32
}

// groups orders flows so that those of one edge stand together, and among them
// those of one key. Hashes come first: comparing fields costs ten times as much.
func groups(flows []flowlog.Flow) []grouped {
	order := make([]grouped, len(flows))
	var buf []byte
	for i := range flows {
		f := &flows[i]
		buf = buf[:0]
		for _, s := range [...]string{f.Source.Namespace, f.Source.Name, f.Destination.Namespace, f.Destination.Name, f.Transport} {
			buf = append(append(buf, s...), 0)
		}
		buf = append(buf, byte(f.Port), byte(f.Port>>8), byte(f.ICMP), byte(f.ICMP>>8))
		order[i] = grouped{hash: xxhash.Sum64(buf), at: int32(i)}
	}
	slices.SortFunc(order, func(a, b grouped) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		x, y := &flows[a.at], &flows[b.at]
		return cmp.Or(compareEdges(x, y), compareVerdicts(x, y))
	})
	return order
}

// compareEdges compares what a flow connects: both ends, port and protocol. The
// Service is not part of it, because only the source's node sees one.
func compareEdges(a, b *flowlog.Flow) int {
	return cmp.Or(
		cmp.Compare(a.Source.Name, b.Source.Name),
		cmp.Compare(a.Source.Namespace, b.Source.Namespace),
		cmp.Compare(a.Source.Type, b.Source.Type),
		cmp.Compare(a.Destination.Name, b.Destination.Name),
		cmp.Compare(a.Destination.Namespace, b.Destination.Namespace),
		cmp.Compare(a.Destination.Type, b.Destination.Type),
		cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.ICMP, b.ICMP),
		cmp.Compare(a.Transport, b.Transport),
	)
}

// compareVerdicts compares the rest of a flow's key.
func compareVerdicts(a, b *flowlog.Flow) int {
	return cmp.Or(
		cmp.Compare(a.Reporter, b.Reporter),
		cmp.Compare(a.Action, b.Action),
		cmp.Compare(a.Service.Name, b.Service.Name),
		cmp.Compare(a.Service.Namespace, b.Service.Namespace),
		cmp.Compare(a.Service.PortName, b.Service.PortName),
		cmp.Compare(a.Service.Port, b.Service.Port),
		cmp.Compare(a.Egress, b.Egress),
		cmp.Compare(a.Ingress, b.Ingress),
		cmp.Compare(a.EgressPending, b.EgressPending),
		cmp.Compare(a.IngressPending, b.IngressPending),
		cmp.Compare(a.End, b.End),
	)
}

// absorb adds a flow of the same key to f. Labels are the intersection, as they
// would have been had Goldmane seen that the keys are one.
func absorb(f, same *flowlog.Flow) {
	f.Add(&same.Counters)
	f.Source.Labels = intersect(f.Source.Labels, same.Source.Labels)
	f.Destination.Labels = intersect(f.Destination.Labels, same.Destination.Labels)
}

func intersect(a, b []flowlog.Label) []flowlog.Label {
	return slices.DeleteFunc(a, func(l flowlog.Label) bool { return !slices.Contains(b, l) })
}

// mergeReporters merges, within one edge, each source's report with the
// destination's report of the same traffic, in place.
//
// One report on either side is the rule. A source may have several (it dialled a
// Service and the pods, or its policies changed), and where the destination has one,
// all of them met that verdict. Where the destination has several, reports are
// paired by weight, and what is left over keeps its own record: nothing is dropped,
// and nothing is added up that was seen twice.
func mergeReporters(flows []flowlog.Flow, group []int32) []int32 {
	var sources, destinations []int32
	for _, i := range group {
		switch {
		case flows[i].Reporter == flowlog.ReporterDestination:
			destinations = append(destinations, i)
		case flows[i].Reporter == flowlog.ReporterSource && flows[i].Action != flowlog.ActionDeny:
			// What the source denied never reached the destination.
			sources = append(sources, i)
		}
	}
	if len(sources) == 0 || len(destinations) == 0 {
		return group
	}
	if len(destinations) > 1 {
		byWeight := func(a, b int32) int {
			return cmp.Or(-cmp.Compare(weight(&flows[a]), weight(&flows[b])), compareVerdicts(&flows[a], &flows[b]))
		}
		slices.SortFunc(sources, byWeight)
		slices.SortFunc(destinations, byWeight)
		sources = sources[:min(len(sources), len(destinations))]
	}
	paired := 0
	for i, s := range sources {
		paired = min(i, len(destinations)-1)
		both(&flows[s], &flows[destinations[paired]])
	}
	gone := destinations[:paired+1]
	return slices.DeleteFunc(group, func(i int32) bool { return slices.Contains(gone, i) })
}

// weight ranks reports of the same edge: the connections first, since one packet
// more or less differs between the two sides' flushes.
func weight(f *flowlog.Flow) int64 {
	return (f.ConnectionsStarted+f.ConnectionsLive)<<32 + f.SourcePackets
}

// both adds the destination's report to the source's. The counters stay the
// source's; the outcome is deny if either side denied; each side knows its own
// labels and policies best.
func both(f, destination *flowlog.Flow) {
	f.Reporter = flowlog.ReporterBoth
	f.DestinationAction = destination.DestinationAction
	f.Ingress, f.IngressPending = destination.Ingress, destination.IngressPending
	if destination.Action != flowlog.ActionAllow || destination.Deciding != "" {
		f.Action, f.Deciding = destination.Action, destination.Deciding
	}
	if f.Service == (flowlog.Service{}) {
		f.Service = destination.Service
	}
	if len(destination.Destination.Labels) > 0 {
		f.Destination.Labels = destination.Destination.Labels
	}
	if len(f.Source.Labels) == 0 {
		f.Source.Labels = destination.Source.Labels
	}
}
