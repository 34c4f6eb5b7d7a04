package cluster

import (
	"math"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

// Config is the cluster as its traffic is made of, where a window has the given length.
func (c *Cluster) Config(window time.Duration) traffic.Config {
	conf := traffic.Config{
		Seed: c.seed, Window: window, Passing: c.passing(window),
		Begin: c.options.Begin, End: c.options.End,
	}
	for i, n := range nodes {
		node := traffic.Node{Name: n.name, Phase: unit(c.seed, uint64(i)), Late: 0.01, Straggling: 0.0005}
		switch {
		case c.options.Calm:
		case i == remote:
			node.Interval = float64(5 * time.Minute / nominal)
		default:
			node.Cut, node.Silent = c.timetable(i, window)
		}
		conf.Nodes = append(conf.Nodes, node)
	}
	for _, e := range c.edges {
		p := c.pair(e)
		if e.dst.workload != nil {
			if p.Swaps = swaps(e.dst.workload.namespace.name, window); p.Swaps != nil {
				p.Versions = 2
			}
		}
		conf.Pairs = append(conf.Pairs, p)
	}
	return conf
}

func (c *Cluster) pairs(es []*edge) []traffic.Pair {
	ps := make([]traffic.Pair, len(es))
	for i, e := range es {
		ps[i] = c.pair(e)
	}
	return ps
}

// pair is the edge as the engine takes it. The tables say how many windows of a node show
// it, and a flush has parts of two.
func (c *Cluster) pair(e *edge) traffic.Pair {
	p := traffic.Pair{
		Source: e.src.end(nil), Dest: e.dst.end(e.onNodes),
		Port: e.port, Proto: e.proto, Service: e.service, Dialled: 1, Blank: e.seed%20 == 0,
		Load:  traffic.Load{Share: 1 - math.Sqrt(1-e.pace.rate), Connections: float64(e.pace.conns), Bytes: float64(e.pace.bytes)},
		Trace: e.policies, Phantom: e.phantom, Begin: e.begin, End: e.end,
	}
	switch e.verdict {
	case egressDenied:
		p.Verdict = traffic.DeniedAtSource
	case ingressDenied:
		p.Verdict = traffic.DeniedAtDestination
	case allowed:
	}
	if e.seed%12 == 0 {
		p.Dialled = 0.7 // some know the Pods' addresses
	}
	if e.pooled {
		p.Standing, p.Lifetime, p.Busy = 1+int(e.seed>>8%2), 60, max(e.pace.rate, 0.9)
	}
	if e.fleeting {
		p.Fleeting = &traffic.Fleeting{Life: 0.5, Misnamed: 0.1, Unseen: 0.2}
	}
	return p
}

// end is the endpoint, with its Pods of some nodes only, if any are named.
func (p endpoint) end(on []int) traffic.End {
	e := traffic.End{Type: p.typ, Namespace: p.namespace, Name: p.name, Labels: p.labels}
	if p.workload == nil {
		return e
	}
	e.Pods = p.workload.replicas
	if on != nil {
		e.Pods = nil
		for _, r := range p.workload.replicas {
			if slices.Contains(on, r.Node) {
				e.Pods = append(e.Pods, r)
			}
		}
	}
	return e
}

// deniedAlone is how many of the calls alone are made.
const deniedAlone = 10

// alone picks them: which of the workloads share a node is the seed's.
func (c *Cluster) alone() []call {
	var picked []call
	for _, k := range alone {
		from, to := c.get(k.from), c.get(k.to)
		if len(picked) < deniedAlone && from.nodes[0] != to.nodes[0] {
			picked = append(picked, k)
		}
	}
	return picked
}
