package traffic

import (
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Truth is what a pair really sent, of one verdict.
type Truth struct {
	Flow
	Verdict Verdict `json:"verdict"`

	Connections int64 `json:"connections"`
	Packets     int64 `json:"packets"`
	Bytes       int64 `json:"bytes"`
	BackPackets int64 `json:"back_packets"`
	BackBytes   int64 `json:"back_bytes"`

	// SourceNodes and DestNodes are those that may have reported it; none where an end is
	// no workload.
	SourceNodes []string `json:"source_nodes,omitempty"`
	DestNodes   []string `json:"dest_nodes,omitempty"`

	// Cut says that one of the nodes was cut off: some of this came twice, or not at all
	// if the cut was longer than five minutes.
	Cut bool `json:"cut,omitempty"`
	// Silent says that some of what one of the nodes saw was lost.
	Silent bool `json:"silent,omitempty"`
	// Split says that policies were replaced, so that a node may have reported some of
	// this under both.
	Split bool `json:"split,omitempty"`
	// Uncertain says that the Pods live too shortly for their nodes to see all of this.
	Uncertain bool `json:"uncertain,omitempty"`
}

// Flow is what Goldmane knows a pair by.
type Flow struct {
	SourceNamespace string                `json:"source_namespace"`
	SourceName      string                `json:"source_name"`
	SourceType      goldmane.EndpointType `json:"source_type"`
	DestNamespace   string                `json:"dest_namespace"`
	DestName        string                `json:"dest_name"`
	DestType        goldmane.EndpointType `json:"dest_type"`
	Port            int64                 `json:"port"`
	Proto           string                `json:"proto"`
}

// OneNodeAnEnd reports whether no end's reports come from more than one node.
func (t *Truth) OneNodeAnEnd() bool { return len(t.SourceNodes) <= 1 && len(t.DestNodes) <= 1 }

// Exact reports whether the reports must add up to this, at each end.
func (t *Truth) Exact() bool { return !t.Cut && !t.Silent && !t.Split && !t.Uncertain }

// Truth is what was sent in [from, to), an entry for each pair and verdict of which
// anything was.
func (t *Traffic) Truth(from, to time.Time) []Truth {
	type of struct {
		flow    Flow
		verdict Verdict
	}
	var all []Truth
	passing := make(map[of]int)
	begin, end := from.UnixNano(), to.UnixNano()
	d := newDice()
	lasting := len(t.pairs)
	t.live(begin, end, func(p *pair) {
		var sums [verdicts]Truth
		t.events(p, begin, end-1, d, func(e *event) {
			if e.at < begin || e.at >= end {
				return
			}
			s := &sums[e.verdict]
			if e.connection {
				s.Connections++
			}
			s.Packets += e.packets
			s.Bytes += e.bytes
			s.BackPackets += e.backPackets
			s.BackBytes += e.backBytes
		})
		lasting--
		for v := range verdicts {
			s := sums[v]
			if s.Packets == 0 {
				continue
			}
			s.Flow, s.Verdict = p.flow(), v
			t.judge(p, begin, end, &s)
			if lasting < 0 {
				if i, ok := passing[of{s.Flow, v}]; ok {
					all[i].add(&s)
					continue
				}
				passing[of{s.Flow, v}] = len(all)
			}
			all = append(all, s)
		}
	})
	return all
}

func (t *Truth) add(o *Truth) {
	t.Connections += o.Connections
	t.Packets += o.Packets
	t.Bytes += o.Bytes
	t.BackPackets += o.BackPackets
	t.BackBytes += o.BackBytes
	t.Cut, t.Silent = t.Cut || o.Cut, t.Silent || o.Silent
	t.Split, t.Uncertain = t.Split || o.Split, t.Uncertain || o.Uncertain
}

// judge fills in what stands between the truth and its reports.
func (t *Traffic) judge(p *pair, from, to int64, s *Truth) {
	nodes := func(side *side) []string {
		var names []string
		for _, i := range side.nodes {
			n := t.nodes[i]
			names = append(names, n.Name)
			// A flush has what happened in the interval before it, and is sent again for
			// so long after.
			before := n.longest()
			s.Silent = s.Silent || n.Silent.overlap(from, to, before, before)
			s.Cut = s.Cut || n.Cut.overlap(from, to, before+resent*t.window, before)
		}
		return names
	}
	s.SourceNodes, s.DestNodes = nodes(&p.src), nodes(&p.dst)
	s.Uncertain = p.Fleeting != nil
	if p.Versions > 1 {
		longest := int64(0)
		for _, side := range p.sides() {
			for _, n := range side.nodes {
				longest = max(longest, t.nodes[n].longest())
			}
		}
		s.Split = p.Swaps.begun(to+longest) > p.Swaps.begun(from-longest)
	}
}

func (p *pair) flow() Flow {
	k := p.key(goldmane.Reporter_Src, goldmane.Action_Allow, nil, 0)
	return Flow{
		k.SourceNamespace, k.SourceName, k.SourceType,
		k.DestNamespace, k.DestName, k.DestType, k.DestPort, k.Proto,
	}
}
