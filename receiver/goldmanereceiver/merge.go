package goldmanereceiver

import (
	"cmp"
	"slices"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// merged counts what merging did.
type merged struct {
	// Flows that became part of another flow's record.
	byReporter, byPolicyOrder, byPolicies int64
}

// settling is what a window's flows are settled by.
type settling struct {
	// near is what the reports of each pair say within reach.
	near pairs
	// more: something within reach may still come. What rests on its not being there is
	// withheld.
	more bool
	// late: the window has been listed again.
	late bool
	// reporters: the two sides' reports of the same traffic become one record.
	reporters bool
	// before is what has been handed on of the window: it is subtracted.
	before ledger
}

// settle makes one flow of those that are one, decides what became of each, and whether it
// counts; and withholds what cannot be decided yet. It works in place, since a flow is half
// a kilobyte.
func (w *window) settle(s settling) {
	w.left = make([]int32, 0, len(w.flows))
	if s.before == nil {
		w.all = make(ledger, 0, len(w.flows))
	}
	at := 0
	w.eachPair(func(hash uint64, flows []grouped) {
		for at < len(s.near.hashes) && s.near.hashes[at] < hash {
			at++
		}
		var near reports
		if at < len(s.near.hashes) && s.near.hashes[at] == hash {
			near = s.near.said[at]
		}
		w.settlePair(hash, flows, near, &s)
	})
	for i := range w.all {
		w.all[i].withheld = w.isHeld(w.all[i].flow)
	}
	w.all.sort()
}

// ledger is what the flows have counted, by key.
func (w *window) ledger() ledger {
	l := make(ledger, 0, len(w.flows))
	var keys []int32
	w.eachPair(func(hash uint64, flows []grouped) {
		keys = w.sameKeys(keys[:0], flows)
		for _, i := range keys {
			l = append(l, w.entry(hash, i))
		}
	})
	l.sort()
	return l
}

func (w *window) entry(pair uint64, flow int32) entry {
	f := &w.flows[flow]
	var key uint64
	key, w.buf = keyOf(pair, f, w.buf)
	return entry{key: key, flow: flow, Counters: f.Counters}
}

// settlePair settles the flows of one pair.
func (w *window) settlePair(hash uint64, flows []grouped, near reports, s *settling) {
	from := len(w.left)
	w.left = w.sameKeys(w.left, flows)
	w.left = w.remaining(w.left, from, hash, s)
	w.left = w.sameTraffic(w.left, from)
	kept := w.left[:from]
	for _, i := range w.left[from:] {
		f := &w.flows[i]
		d := decide(reportOf(f), near)
		if d.open && s.more {
			w.withhold(i)
			continue
		}
		f.Action, f.Counts, f.Late = d.action, d.counts, s.late
		f.ServiceTwin = f.Service.Name == "" && f.Destination.Type != flowlog.TypeWorkload && near.any(serviceNamed)
		kept = append(kept, i)
	}
	w.left = kept
	if mixed := near.has(destinationAllowed | destinationDenied); s.reporters && !mixed && len(w.left)-from > 1 {
		n := len(w.left)
		w.left = append(w.left[:from], mergeReporters(w.flows, w.left[from:])...)
		w.byReporter += int64(n - len(w.left))
	}
	for _, i := range w.left[from:] {
		w.flows[i].Deciding = w.flows[i].DecidingHit()
	}
}

// sameKeys appends the flows of a pair to left, those as one whose keys differ only in what
// canonical form removes: the order of policies.
func (w *window) sameKeys(left []int32, order []grouped) []int32 {
	from := len(left)
	for _, o := range order {
		f := &w.flows[o.at]
		if last := len(left) - 1; last >= from && compareVerdicts(&w.flows[left[last]], f) == 0 {
			absorb(&w.flows[left[last]], f)
			w.join(o.at, left[last])
			w.byPolicyOrder++
			continue
		}
		left = append(left, o.at)
	}
	return left
}

// remaining notes the flows of a pair in the ledger, or takes away from them what has been
// handed on.
func (w *window) remaining(left []int32, from int, pair uint64, s *settling) []int32 {
	if s.before == nil {
		for _, i := range left[from:] {
			w.all = append(w.all, w.entry(pair, i))
		}
		return left
	}
	kept := left[:from]
	for _, i := range left[from:] {
		now := w.entry(pair, i)
		if before, ok := s.before.find(now.key); ok {
			if w.flows[i].Counters, ok = before.grown(&now.Counters); !ok {
				continue
			}
		}
		kept = append(kept, i)
	}
	return kept
}

// sameTraffic makes one flow of those of a pair that differ in their policies only. Where
// policies change, a node reports a flow once for each set of them that it saw, each time
// with the whole counters: equal counters are one traffic. Others come from several nodes,
// and are added (issue 12: 610 connections instead of 406 on real Felixes, and 422 so).
func (w *window) sameTraffic(left []int32, from int) []int32 {
	kept := left[:from]
	for rest := left[from:]; len(rest) > 0; {
		n := 1
		for n < len(rest) && compareReports(&w.flows[rest[n]], &w.flows[rest[0]]) == 0 {
			n++
		}
		if n == 1 {
			kept, rest = append(kept, rest[0]), rest[1:]
			continue
		}
		run := slices.Clone(rest[:n])
		slices.SortStableFunc(run, func(a, b int32) int { return -cmp.Compare(weight(&w.flows[a]), weight(&w.flows[b])) })
		one := &w.flows[run[0]]
		counted := []flowlog.Counters{one.Counters}
		for _, i := range run[1:] {
			same := &w.flows[i]
			if c := same.Counters; slices.Contains(counted, c) {
				same.Counters = flowlog.Counters{}
			} else {
				counted = append(counted, c)
			}
			absorb(one, same)
			w.join(i, run[0])
			w.byPolicies++
		}
		one.Split = n
		kept, rest = append(kept, run[0]), rest[n:]
	}
	return kept
}

// grouped is a flow's place and the hash of its pair.
type grouped struct {
	hash uint64
	at   int32
}

// eachPair calls f with the flows of each pair, those of one key together, in order of hash.
// Hashes come first: comparing fields costs ten times as much.
func (w *window) eachPair(f func(hash uint64, flows []grouped)) {
	order := make([]grouped, len(w.flows))
	for i, hash := range w.hashes {
		order[i] = grouped{hash: hash, at: int32(i)}
	}
	slices.SortFunc(order, func(a, b grouped) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		x, y := &w.flows[a.at], &w.flows[b.at]
		return cmp.Or(compareEdges(x, y), compareVerdicts(x, y))
	})
	for len(order) > 0 {
		n := 1
		for n < len(order) && order[n].hash == order[0].hash && compareEdges(&w.flows[order[n].at], &w.flows[order[0].at]) == 0 {
			n++
		}
		f(order[0].hash, order[:n])
		order = order[n:]
	}
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

// compareReports compares who reports, what it did, and which Service it knows of.
func compareReports(a, b *flowlog.Flow) int {
	return cmp.Or(
		cmp.Compare(a.Reporter, b.Reporter),
		cmp.Compare(a.Action, b.Action),
		cmp.Compare(a.Service.Name, b.Service.Name),
		cmp.Compare(a.Service.Namespace, b.Service.Namespace),
		cmp.Compare(a.Service.PortName, b.Service.PortName),
		cmp.Compare(a.Service.Port, b.Service.Port),
	)
}

// compareVerdicts compares the rest of a flow's key.
func compareVerdicts(a, b *flowlog.Flow) int {
	return cmp.Or(
		compareReports(a, b),
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

// mergeReporters merges, within one pair, each source's report with the destination's
// report of the same traffic, in place. A report of the destination's that counts is of
// traffic that no report of the source's counts, and stays a record of its own.
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
		case flows[i].Reporter == flowlog.ReporterDestination && !flows[i].Counts:
			destinations = append(destinations, i)
		case flows[i].Reporter == flowlog.ReporterSource && flows[i].SourceAction == flowlog.ActionAllow:
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
		both(&flows[s], &flows[destinations[paired]], len(sources) == 1)
	}
	gone := destinations[:paired+1]
	return slices.DeleteFunc(group, func(i int32) bool { return slices.Contains(gone, i) })
}

// weight ranks reports of the same edge: the connections first, since one packet
// more or less differs between the two sides' flushes.
func weight(f *flowlog.Flow) int64 {
	return (f.ConnectionsStarted+f.ConnectionsLive)<<32 + f.SourcePackets
}

// both adds the destination's report to the source's. The counters and the outcome, which
// takes the destination's verdict into account, stay the source's; each side knows its own
// labels and policies best.
// The destination's Service is the source's where that has no other report: else two
// reports that differ in it only would become one record, and one of them lost.
func both(f, destination *flowlog.Flow, alone bool) {
	f.Reporter = flowlog.ReporterBoth
	f.DestinationAction = destination.DestinationAction
	f.Ingress, f.IngressPending = destination.Ingress, destination.IngressPending
	f.StagedEnforced = f.StagedEnforced || destination.StagedEnforced
	f.Split = max(f.Split, destination.Split)
	if alone && f.Service == (flowlog.Service{}) {
		f.Service = destination.Service
	}
	if len(destination.Destination.Labels) > 0 {
		f.Destination.Labels = destination.Destination.Labels
	}
	if len(f.Source.Labels) == 0 {
		f.Source.Labels = destination.Source.Labels
	}
}
