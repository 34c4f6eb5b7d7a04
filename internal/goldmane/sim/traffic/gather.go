package traffic

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// counters are what one node's flush has of one variant of a pair.
type counters struct {
	started, completed, live int64
	packets, bytes           int64
	backPackets, backBytes   int64
	versions                 uint8 // by bits: those that were seen
	seen                     bool
	unresolved               bool // the first packets have gone by without their Service
}

// gathering is one call's work on one pair after the other.
type gathering struct {
	t      *Traffic
	views  []view
	dice   dice
	ledger [2][]counters
	// offset is where a node's counters begin in the ledger of a side, by its place in
	// the side's nodes; first and last are the flushes that the pair can have a part in.
	stretch [2][]stretch
}

type stretch struct{ offset, first, last int }

// gather is what the views' flushes report, in order of arrival.
func (t *Traffic) gather(views []view) []Arrival {
	g := &gathering{t: t, views: views, dice: newDice()}
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for _, v := range views {
		if n := len(v.flushes); n > 0 {
			from, to = min(from, v.flushes[0].from), max(to, v.flushes[n-1].to)
		}
	}
	if from > to {
		return nil
	}
	t.live(from, to, g.pair)
	return t.inOrder(views)
}

// inOrder is the flows as they arrive: by time, and what comes at once by node and flush,
// in the order of the pairs.
func (t *Traffic) inOrder(views []view) []Arrival {
	type sent struct {
		*delivery
		node int
		j    int64
	}
	var all []sent
	size := 0
	for n := range views {
		for i := range views[n].flushes {
			f := &views[n].flushes[i]
			for k := range f.arrivals {
				all = append(all, sent{&f.arrivals[k], n, f.j})
				size += len(f.arrivals[k].flows)
			}
		}
	}
	slices.SortFunc(all, func(a, b sent) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node), cmp.Compare(a.j, b.j))
	})
	arrivals := make([]Arrival, 0, size)
	for _, s := range all {
		for _, f := range s.flows {
			arrivals = append(arrivals, Arrival{Flow: f, Node: t.nodes[s.node].Name, At: time.Unix(0, s.at)})
		}
	}
	return arrivals
}

// pair adds what the nodes report of one pair.
func (g *gathering) pair(p *pair) {
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for i, s := range p.sides() {
		g.stretch[i] = g.stretch[i][:0]
		size := 0
		for _, n := range s.nodes {
			v := &g.views[n]
			st := stretch{offset: size}
			if len(v.flushes) > 0 {
				end := p.end
				if end < math.MaxInt64 {
					// A straggler is in the flush after.
					end += p.tail + g.t.nodes[n].longest()
				}
				st.first, st.last = max(v.find(p.begin), 0), min(v.find(end)+1, len(v.flushes))
			}
			if st.first < st.last {
				from, to = min(from, v.flushes[st.first].from), max(to, v.flushes[st.last-1].to)
				size += (st.last - st.first) * int(variants)
			}
			g.stretch[i] = append(g.stretch[i], st)
		}
		g.ledger[i] = slices.Grow(g.ledger[i][:0], size)[:size]
		clear(g.ledger[i])
	}
	if from > to {
		return
	}
	g.t.events(p, from-p.tail, to, g.dice, func(e *event) { g.event(p, e) })
	for i, s := range p.sides() {
		g.report(p, i, s)
	}
}

func (p *pair) sides() [2]*side { return [2]*side{&p.src, &p.dst} }

// event has the nodes of both ends see it.
func (g *gathering) event(p *pair, e *event) {
	var v variant
	if e.verdict != Allowed {
		v = denied
	}
	if e.from >= 0 && !e.unseen {
		v := v
		if e.verdict == DeniedAtDestination {
			v = 0 // the source's node lets it out
		}
		if e.dialled {
			v |= dialled
		}
		g.see(p, 0, &p.src, e.from, v, e, e.sourceLives)
	}
	if e.to >= 0 && e.verdict != DeniedAtSource {
		if e.dialled && e.from >= 0 && p.src.pods[e.from].node == p.dst.pods[e.to].node {
			// Only this node has seen which Service the address stood for.
			v |= dialled
		}
		g.see(p, 1, &p.dst, e.to, v, e, e.destLives)
	}
}

// unresolved is how often the first packets in a flush come without their Service: Felix
// learns of it a little later.
const unresolved = 0.02

// see puts the event into a flush of the Pod's node, and what lives on of it into those
// after.
func (g *gathering) see(p *pair, i int, s *side, pod int, v variant, e *event, lives int64) {
	n := s.pods[pod].node
	view := &g.views[n]
	st := g.stretch[i][s.local[n]]
	if st.first >= st.last {
		return
	}
	flush := view.find(e.at)
	ends := flush
	if lives > 0 {
		ends = view.find(e.at + lives)
	}
	if e.straggles[i] < g.t.nodes[n].Straggling {
		flush++
		ends = max(ends, flush)
	}
	at := func(flush int, v variant) *counters {
		c := &g.ledger[i][st.offset+(flush-st.first)*int(variants)+int(v)]
		c.seen = true
		return c
	}
	within := func(flush int) bool { return st.first <= flush && flush < st.last }
	first := v // what the connection's first flush has it under
	if within(flush) {
		f := &view.flushes[flush]
		if i == 1 && e.misnamed && e.gone < f.to {
			first |= misnamed
		}
		if i == 0 && v&dialled != 0 && unit(p.seed, 20, uint64(n), uint64(f.j)) < unresolved {
			if c := at(flush, v); !c.unresolved {
				c.seen, c.unresolved = c.live > 0, true
				first &^= dialled
			}
		}
		c := at(flush, first)
		c.packets += e.packets
		c.bytes += e.bytes
		c.backPackets += e.backPackets
		c.backBytes += e.backBytes
		c.versions |= 1 << p.version(e.at)
		if e.connection {
			c.started++
			c.live++
			if ends == flush {
				c.completed++
			}
		}
	}
	if !e.connection {
		return
	}
	for later := max(flush+1, st.first); later < min(ends+1, st.last); later++ {
		c := at(later, v)
		c.live++
		if later == ends {
			c.completed++
		}
	}
}

// report turns the counters of one side into flows.
func (g *gathering) report(p *pair, i int, s *side) {
	for local, st := range g.stretch[i] {
		n := s.nodes[local]
		for at := st.first; at < st.last; at++ {
			f := &g.views[n].flushes[at]
			if len(f.arrivals) == 0 {
				continue
			}
			ledger := g.ledger[i][st.offset+(at-st.first)*int(variants):][:variants]
			if i == 1 && p.phantom < f.to && p.begin < f.to && f.to <= p.end {
				ledger[denied].seen = true
			}
			for v := range variants {
				if c := &ledger[v]; c.seen {
					g.flow(p, s, local, v, c, f)
				}
			}
		}
	}
}

// flow is what a node reports of one variant: a flow under every set of policies that it
// saw, each with the whole counters.
func (g *gathering) flow(p *pair, s *side, local int, v variant, c *counters, f *flush) {
	n := s.nodes[local]
	if c.versions == 0 {
		c.versions = 1 << p.version(f.from)
	}
	var keys uint8
	for rest := c.versions; rest != 0; rest &= rest - 1 {
		keys |= 1 << s.same[v][bits.TrailingZeros8(rest)]
	}
	stamp := g.t.nodes[n].stamp(f.j)
	for ; keys != 0; keys &= keys - 1 {
		for i := range f.arrivals {
			// The end is the start: that is what Felix 3.32 fills in.
			flow := &goldmane.Flow{
				Key: s.keys[v][bits.TrailingZeros8(keys)], StartTime: stamp, EndTime: stamp,
				NumConnectionsStarted: c.started, NumConnectionsCompleted: c.completed, NumConnectionsLive: c.live,
			}
			if s.reporter == goldmane.Reporter_Src {
				flow.SourceLabels, flow.DestLabels = s.labels[local], p.dst.remote
				flow.PacketsOut, flow.BytesOut, flow.PacketsIn, flow.BytesIn = c.packets, c.bytes, c.backPackets, c.backBytes
			} else {
				flow.SourceLabels, flow.DestLabels = p.src.remote, s.labels[local]
				flow.PacketsIn, flow.BytesIn, flow.PacketsOut, flow.BytesOut = c.packets, c.bytes, c.backPackets, c.backBytes
			}
			switch {
			case v&misnamed != 0:
				flow.SourceLabels = nil
			case unit(p.seed, 21, uint64(n), uint64(f.j)) < bare:
				flow.SourceLabels = slices.DeleteFunc(slices.Clone(flow.SourceLabels), isCalicoLabel)
			}
			f.arrivals[i].flows = append(f.arrivals[i].flows, flow)
		}
	}
}

// bare is how often Calico's own labels are missing.
const bare = 0.03

func isCalicoLabel(l string) bool { return strings.HasPrefix(l, "projectcalico.org/") }
