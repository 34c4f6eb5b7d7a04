package cluster

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// maxNodes is how many of a workload's nodes carry one edge in one window at most.
const maxNodes = 3

// report collects what all nodes send for one window.
type report struct {
	c        *Cluster
	index    uint64 // of the window
	flushes  []flush
	flushed  []bool // by node: whether a flush falls into the window
	arrivals []Arrival
}

// volume is what an edge carries in a window, from originator to responder and back.
type volume struct {
	started, completed, live int64
	packets, bytes           int64
	backPackets, backBytes   int64
}

// edge reports one edge, from both ends where both would.
func (r *report) edge(e *edge) {
	rng := r.newRand(e)
	v, ok := e.volume(rng)
	if !ok {
		return
	}
	if e.src.workload != nil {
		action := goldmane.Action_Allow
		if e.verdict == egressDenied {
			action = goldmane.Action_Deny
		}
		r.side(e, goldmane.Reporter_Src, action, v, rng)
	}
	if e.dst.workload != nil && e.verdict != egressDenied {
		action := goldmane.Action_Allow
		if e.verdict == ingressDenied {
			action = goldmane.Action_Deny
		}
		r.side(e, goldmane.Reporter_Dst, action, v, rng)
	}
}

// volume draws what the edge carries; false where it is silent and has nothing open.
func (e *edge) volume(rng *rand.Rand) (volume, bool) {
	if e.phantom {
		return volume{}, true
	}
	if rng.Float64() >= e.pace.rate {
		if !e.pooled || rng.Float64() < 0.3 {
			return volume{}, false
		}
		return volume{live: 1 + rng.Int64N(4)}, true // idle: reported at every flush
	}
	vary := func(n int64) int64 { return 1 + int64(float64(n)*(0.5+rng.ExpFloat64())) }
	v := volume{started: vary(e.pace.conns - 1)}
	if e.verdict != allowed {
		v.completed = v.started
		v.packets = v.started * (1 + rng.Int64N(4))
		v.bytes = v.packets * 60
		return v, true
	}
	v.live = rng.Int64N(v.started + 1)
	v.completed = v.started - v.live
	total := v.started * vary(e.pace.bytes)
	v.bytes = 60 + int64(float64(total)*(0.1+0.4*rng.Float64()))
	v.backBytes = 60 + total - v.bytes/2
	v.packets = v.started*2 + v.bytes/600
	v.backPackets = v.started*2 + v.backBytes/900
	return v, true
}

// side reports an edge from one end: one flow from every node there that carries it.
func (r *report) side(e *edge, reporter goldmane.Reporter, action goldmane.Action, v volume, rng *rand.Rand) {
	w := e.src.workload
	if reporter == goldmane.Reporter_Dst {
		w = e.dst.workload
	}
	carriers := w.nodes
	if e.onNode >= 0 {
		carriers = []int{e.onNode}
	}
	if len(carriers) > maxNodes {
		first := rng.IntN(len(carriers) - maxNodes + 1)
		carriers = carriers[first : first+maxNodes]
	}
	key := e.key(reporter, action, rng)
	for i, n := range carriers {
		if !r.flushed[n] || i > 0 && rng.Float64() < 0.2 {
			continue
		}
		r.arrivals = append(r.arrivals, Arrival{
			Flow: e.flow(key, r.flushes[n].stamp, n, v.share(int64(len(carriers))), rng),
			Node: nodes[n].name, After: r.flushes[n].after,
		})
	}
}

// share is one node's part of the volume. It never rounds traffic down to none.
func (v volume) share(n int64) volume {
	part := func(x int64) int64 { return (x + n - 1) / n }
	return volume{
		part(v.started), part(v.completed), part(v.live),
		part(v.packets), part(v.bytes), part(v.backPackets), part(v.backBytes),
	}
}

func (e *edge) key(reporter goldmane.Reporter, action goldmane.Action, rng *rand.Rand) *goldmane.FlowKey {
	k := &goldmane.FlowKey{
		SourceName: e.src.name, SourceNamespace: e.src.namespace, SourceType: e.src.typ,
		DestName: e.dst.name, DestNamespace: e.dst.namespace, DestType: e.dst.typ, DestPort: e.port,
		DestServiceName: e.service, DestServiceNamespace: e.serviceNamespace,
		DestServicePortName: e.servicePortName, DestServicePort: e.servicePort,
		Proto: e.proto, Reporter: reporter, Action: action, Policies: e.policies(reporter),
	}
	if k.SourceNamespace == "-" {
		k.SourceNamespace = e.empty
	}
	if k.DestNamespace == "-" {
		k.DestNamespace = e.empty
	}
	if e.servicePort != 0 && rng.Float64() < 0.02 {
		// Felix may learn of the Service only after the first packets.
		k.DestServiceName, k.DestServiceNamespace, k.DestServicePortName, k.DestServicePort = e.empty, e.empty, e.empty, 0
	}
	return k
}

// flow is what node n sends. Its end is its start: that is what Felix 3.32 fills in.
func (e *edge) flow(key *goldmane.FlowKey, stamp int64, n int, v volume, rng *rand.Rand) *goldmane.Flow {
	f := &goldmane.Flow{
		Key: key, StartTime: stamp, EndTime: stamp,
		SourceLabels: e.src.labelsAt(n), DestLabels: e.dst.labelsAt(n),
		NumConnectionsStarted: v.started, NumConnectionsCompleted: v.completed, NumConnectionsLive: v.live,
	}
	if rng.Float64() < 0.03 {
		f.SourceLabels = slices.DeleteFunc(f.SourceLabels, isCalicoLabel)
	}
	if key.Reporter == goldmane.Reporter_Src {
		f.PacketsOut, f.BytesOut, f.PacketsIn, f.BytesIn = v.packets, v.bytes, v.backPackets, v.backBytes
	} else {
		f.PacketsIn, f.BytesIn, f.PacketsOut, f.BytesOut = v.packets, v.bytes, v.backPackets, v.backBytes
	}
	return f
}

func (p endpoint) labelsAt(n int) []string {
	if p.workload == nil {
		return slices.Clone(p.labels)
	}
	return p.workload.labelsOn(n)
}

func isCalicoLabel(l string) bool { return strings.HasPrefix(l, "projectcalico.org/") }
