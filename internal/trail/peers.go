package trail

import (
	"cmp"
	"context"
	"slices"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// PeersQuestion is what Peers answers.
type PeersQuestion struct {
	Span Span
	// Service is a service identity; `*` stands for any text.
	Service string
}

// PeersAnswer is with whom a Service talks.
type PeersAnswer struct {
	Cluster string `json:"cluster"`
	Service string `json:"service"`
	// In are those that talk to the Service, Out those that it talks to; the steadiest and
	// largest first.
	In  []Peer `json:"in"`
	Out []Peer `json:"out"`
	// Edges are those between the Service and its peers, each once, the largest first. In
	// and Out both have an edge between two Services of a pattern.
	Edges []Edge `json:"-"`
	// Slot is what presence is counted in, "day", "hour" or "window", and Slots how many of
	// them the trail covers.
	Slot     string   `json:"slot"`
	Slots    int64    `json:"slots"`
	Read     Read     `json:"read"`
	Coverage Coverage `json:"coverage"`
}

// Peer is one of the ends that a Service talks with.
type Peer struct {
	Identity string `json:"identity"`
	Band     string `json:"band"`
	Slots    int64  `json:"slots"` // in which it was seen
	Totals
	// AtLeast is whether Windows of Totals, and Slots where they are windows, are a lower
	// bound: the peer has several edges, and of each part of the time is only known in how
	// many windows each edge was seen, not in which.
	AtLeast  bool       `json:"windows_at_least,omitempty"`
	Ports    []PeerPort `json:"ports"`
	Policies []string   `json:"policies"`
}

// PeerPort is a port of the destination, and whether it may be used.
type PeerPort struct {
	Port      int64  `json:"port"`
	Transport string `json:"transport"`
	Action    string `json:"action"`
	Totals
	// AtLeast is that of Peer, where Service stands for several.
	AtLeast bool `json:"windows_at_least,omitempty"`
}

// SlotWindow is the Slot of short times.
const SlotWindow = "window"

// Bands say how steady a peer is.
const (
	// BandStable: seen in at least stableShare of the slots that the trail covers.
	BandStable = "stable"
	// BandOneOff: seen in one slot only, or in at most fewWindows windows.
	BandOneOff = "one-off"
	// BandRecurring is all between.
	BandRecurring = "recurring"
)

const (
	stableShare = 0.8
	fewWindows  = 4
	// daysFrom and hoursFrom are from which length on presence is counted in days and in
	// hours; below, it is counted in windows.
	daysFrom  = 3 * day
	hoursFrom = 3 * hour
)

// Peers answers with whom a Service talks.
func (t *Trail) Peers(ctx context.Context, q *PeersQuestion) (*PeersAnswer, error) {
	a := &PeersAnswer{Cluster: t.Cluster, Service: q.Service, Slot: "hour"}
	all := alignedTo(q.Span)
	slot := int64(hour)
	if all.to-all.from >= daysFrom {
		slot, a.Slot = day, "day"
	}
	byWindow := all.to-all.from < hoursFrom
	filter := &Filter{PeersOf: []string{q.Service}}
	s, err := t.sum(ctx, &question{interval: all, filter: filter, coarsest: slot})
	if err != nil {
		return nil, err
	}
	a.Read, a.Coverage = s.read, s.coverage
	a.Slots = slotsOf(&s.coverage, slot)
	if byWindow {
		slot, a.Slot, a.Slots = 0, SlotWindow, readable(&s.coverage)
	}
	in, out := newPeers(slot, &s.coverage), newPeers(slot, &s.coverage)
	for i := range s.parts {
		p := &s.parts[i]
		if glob(q.Service, p.Destination) {
			in.add(p.Source, p)
		}
		if glob(q.Service, p.Source) {
			out.add(p.Destination, p)
		}
	}
	a.In, a.Out, a.Edges = in.list(a.Slots), out.list(a.Slots), edgesOf(s.parts)
	return a, sortEdges(a.Edges, "bytes")
}

// readable is how many windows the trail has flows of.
func readable(c *Coverage) int64 { return c.Complete + c.Partial }

// slotsOf is how many slots of the range the trail has anything of.
func slotsOf(c *Coverage, slot int64) int64 {
	n := int64(0)
	from, to := c.From.Unix(), c.To.Unix()
	for start := from / slot * slot; start < to; start += slot {
		first, last := max(start, from), min(start+slot, to)
		for _, h := range c.Holes {
			if h.Status != flowlog.StatusPartial && h.From.Unix() <= first && h.To.Unix() >= last {
				n--
				break
			}
		}
		n++
	}
	return n
}

// peers collects what was seen of peers in one direction.
type peers struct {
	slot     int64 // in seconds, 0 for windows
	coverage *Coverage
	by       map[string]*peerSum
}

type peerSum struct {
	slots map[int64]struct{}
	parts []flowlog.Rollup
}

func newPeers(slot int64, c *Coverage) *peers { return &peers{slot, c, make(map[string]*peerSum)} }

func (p *peers) add(identity string, r *flowlog.Rollup) {
	sum := p.by[identity]
	if sum == nil {
		sum = &peerSum{slots: make(map[int64]struct{})}
		p.by[identity] = sum
	}
	if p.slot > 0 {
		sum.slots[r.Start/p.slot] = struct{}{}
	}
	sum.parts = append(sum.parts, *r)
}

// list is the peers, the stable ones first, each band by bytes.
func (p *peers) list(slots int64) []Peer {
	list := make([]Peer, 0, len(p.by))
	for identity, sum := range p.by {
		peer := Peer{Identity: identity, Slots: int64(len(sum.slots)), Policies: []string{}}
		windows := make(presence)
		byPort := make(map[flowlog.Edge]presence)
		for i := range sum.parts {
			r := &sum.parts[i]
			key := flowlog.Edge{Port: r.Port, Transport: r.Transport, Action: r.Action}
			if byPort[key] == nil {
				byPort[key] = make(presence)
			}
			windows.add(r)
			byPort[key].add(r)
		}
		index := make(map[flowlog.Edge]int)
		for _, e := range edgesOf(sum.parts) {
			peer.Policies = append(peer.Policies, e.Policies...)
			key := flowlog.Edge{Port: e.Port, Transport: e.Transport, Action: e.Action}
			at, known := index[key]
			if !known {
				at = len(peer.Ports)
				index[key] = at
				peer.Ports = append(peer.Ports, PeerPort{Port: e.Port, Transport: e.Transport, Action: e.Action})
			}
			peer.Ports[at].merge(&e.Totals)
			peer.merge(&e.Totals)
		}
		for key, at := range index {
			peer.Ports[at].Windows, peer.Ports[at].AtLeast = byPort[key].count(p.coverage)
		}
		peer.Windows, peer.AtLeast = windows.count(p.coverage)
		if p.slot == 0 {
			peer.Slots = peer.Windows
		}
		slices.Sort(peer.Policies)
		peer.Policies = slices.Compact(peer.Policies)
		slices.SortFunc(peer.Ports, func(a, b PeerPort) int {
			return cmp.Or(cmp.Compare(b.Bytes(), a.Bytes()), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Transport, b.Transport), cmp.Compare(a.Action, b.Action))
		})
		peer.Band = band(peer.Slots, slots, peer.Windows)
		list = append(list, peer)
	}
	rank := map[string]int{BandStable: 0, BandRecurring: 1, BandOneOff: 2}
	slices.SortFunc(list, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(rank[a.Band], rank[b.Band]), cmp.Compare(b.Bytes(), a.Bytes()), cmp.Compare(a.Identity, b.Identity))
	})
	return list
}

// presence is in how many windows edges were seen, by the interval of their parts.
type presence map[interval]seenWindows

type seenWindows struct {
	most  int64 // of one edge
	edges int
}

func (p presence) add(r *flowlog.Rollup) {
	i := interval{r.Start, r.End}
	p[i] = seenWindows{max(p[i].most, r.Windows), p[i].edges + 1}
}

// count is in how many windows at least one of the edges was seen. Edges share windows, so
// that of an interval the most of one edge is sure; atLeast is whether there may be more.
func (p presence) count(c *Coverage) (n int64, atLeast bool) {
	for i, seen := range p {
		n += seen.most
		atLeast = atLeast || seen.edges > 1 && seen.most < (i.to-i.from)/c.WindowSeconds
	}
	return n, atLeast && n < readable(c)
}

// merge adds totals of another edge in the same time. Windows are not added: see presence.
func (t *Totals) merge(o *Totals) {
	t.Flows += o.Flows
	t.SentPackets += o.SentPackets
	t.SentBytes += o.SentBytes
	t.BackPackets += o.BackPackets
	t.BackBytes += o.BackBytes
	t.ConnectionsStarted += o.ConnectionsStarted
	t.ConnectionsCompleted += o.ConnectionsCompleted
	if t.First.IsZero() || o.First.Before(t.First) {
		t.First = o.First
	}
	if o.Last.After(t.Last) {
		t.Last = o.Last
	}
}

func band(seen, slots, windows int64) string {
	switch {
	case windows <= fewWindows:
		return BandOneOff
	case float64(seen) >= stableShare*float64(slots):
		return BandStable
	case seen <= 1:
		return BandOneOff
	}
	return BandRecurring
}
