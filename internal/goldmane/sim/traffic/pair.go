package traffic

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// pair is a Pair with what follows from it.
type pair struct {
	*Pair
	bounds
	seed     uint64
	waits    bool  // the source's node waits for an answer to what is denied
	tail     int64 // the longest that a connection is still reported after its instant
	changes  []change
	phantom  int64 // since when there is a phantom denial
	src, dst side
}

type change struct {
	at      int64
	verdict Verdict
}

// side is one end of a pair with what its nodes report.
type side struct {
	reporter goldmane.Reporter
	pods     []pod
	mortal   bool  // not all Pods live for ever
	nodes    []int // with a Pod, in order
	local    []int // by node: its place in nodes
	labels   [][]string
	remote   []string // what a node of the other end knows of this one
	keys     [variants][]*goldmane.FlowKey
	distinct [variants]uint8 // by bits: the versions whose key no earlier version has
	same     [variants][]int // by version: the earlier one with the same key, or itself
}

type pod struct {
	bounds
	node int
}

// variant is what of a pair's traffic one node reports in flows of their own.
type variant uint8

const (
	dialled  variant = 1 << iota // the Service is known
	denied                       // the action is Deny
	misnamed                     // the source is taken for a private address
	variants
)

func (t *Traffic) newPair(c *Pair, within bounds, passing bool) *pair {
	p := &pair{
		Pair: c, bounds: within.and(newBounds(c.Begin, c.End)),
		seed: hashString(hash(t.seed, uint64(c.Port)),
			strings.Join([]string{c.Source.Namespace, c.Source.Name, c.Dest.Namespace, c.Dest.Name, c.Proto}, "\x00")),
		phantom: math.MaxInt64,
		src:     side{reporter: goldmane.Reporter_Src},
		dst:     side{reporter: goldmane.Reporter_Dst},
	}
	if p.Versions == 0 {
		p.Versions = 1
	}
	if p.Versions < 0 || p.Versions > 8 {
		panic(fmt.Sprintf("traffic: Pair.Versions is %d: must be 1 to 8", p.Versions))
	}
	var seen [verdicts]bool
	seen[c.Verdict] = true
	for _, ch := range c.Changes {
		p.changes = append(p.changes, change{ch.At.UnixNano(), ch.Verdict})
		seen[ch.Verdict] = true
	}
	if c.Phantom {
		p.phantom = math.MinInt64
		if len(p.changes) > 0 {
			p.phantom = p.changes[0].at
		}
	}
	p.waits = !passing && p.Proto == "tcp" && seen[DeniedAtDestination]
	p.tail = t.tailOf(p)
	p.src.place(t, &c.Source)
	p.dst.place(t, &c.Dest)
	if len(p.src.pods) > 0 {
		p.name(&p.src, seen[Allowed] || seen[DeniedAtDestination], seen[DeniedAtSource])
	}
	if len(p.dst.pods) > 0 {
		p.name(&p.dst, seen[Allowed], seen[DeniedAtDestination] || c.Phantom)
	}
	return p
}

// verdict is in force at t.
func (p *pair) verdict(t int64) Verdict {
	v := p.Verdict
	for _, c := range p.changes {
		if c.at <= t {
			v = c.verdict
		}
	}
	return v
}

// version is that of the policies in force at t.
func (p *pair) version(t int64) int {
	if p.Versions == 1 {
		return 0
	}
	return int(p.Swaps.begun(t) % int64(p.Versions))
}

// place lays out where the Pods are and what is known of them there.
func (s *side) place(t *Traffic, e *End) {
	if len(e.Pods) == 0 {
		s.remote = e.Labels
		return
	}
	s.local = make([]int, len(t.nodes))
	for _, p := range e.Pods {
		b := newBounds(p.Begin, p.End)
		s.mortal = s.mortal || b != bounds{math.MinInt64, math.MaxInt64}
		s.pods = append(s.pods, pod{b, p.Node})
		if !slices.Contains(s.nodes, p.Node) {
			s.nodes = append(s.nodes, p.Node)
		}
	}
	slices.Sort(s.nodes)
	s.labels = make([][]string, len(s.nodes))
	for i, n := range s.nodes {
		s.local[n] = i
		s.labels[i] = common(e.Pods, func(p Pod) bool { return p.Node == n })
	}
	s.remote = common(e.Pods, func(Pod) bool { return true })
}

// common is the labels that all of some Pods have.
func common(pods []Pod, which func(Pod) bool) []string {
	var labels []string
	first := true
	for _, p := range pods {
		switch {
		case !which(p):
		case first:
			labels, first = p.Labels, false
		case len(labels) > 0 && &labels[0] != &p.Labels[0]:
			labels = slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return !slices.Contains(p.Labels, l) })
		}
	}
	return labels
}

// name makes the keys of what the side's nodes report.
func (p *pair) name(s *side, allows, denies bool) {
	for v := range variants {
		is := func(b variant) bool { return v&b != 0 }
		if is(dialled) && p.Service == nil || is(denied) && !denies || !is(denied) && !allows ||
			is(misnamed) && (p.Fleeting == nil || s.reporter == goldmane.Reporter_Src) {
			continue
		}
		action := goldmane.Action_Allow
		if is(denied) {
			action = goldmane.Action_Deny
		}
		for version := range p.Versions {
			var trace *goldmane.PolicyTrace
			if p.Trace != nil {
				trace = p.Trace(s.reporter, action, version)
			}
			same := slices.IndexFunc(s.keys[v], func(k *goldmane.FlowKey) bool { return proto.Equal(k.Policies, trace) })
			if same < 0 {
				same = version
				s.distinct[v] |= 1 << version
			}
			s.same[v] = append(s.same[v], same)
			s.keys[v] = append(s.keys[v], p.key(s.reporter, action, trace, v))
		}
	}
}

func (p *pair) key(r goldmane.Reporter, a goldmane.Action, trace *goldmane.PolicyTrace, v variant) *goldmane.FlowKey {
	none := "-"
	if p.Blank {
		none = ""
	}
	or := func(s string) string {
		if s == "" {
			return none
		}
		return s
	}
	k := &goldmane.FlowKey{
		SourceName: p.Source.Name, SourceNamespace: or(p.Source.Namespace), SourceType: p.Source.Type,
		DestName: p.Dest.Name, DestNamespace: or(p.Dest.Namespace), DestType: p.Dest.Type, DestPort: p.Port,
		DestServiceName: none, DestServiceNamespace: none, DestServicePortName: none,
		Proto: p.Proto, Reporter: r, Action: a, Policies: trace,
	}
	if v&dialled != 0 {
		k.DestServiceName, k.DestServiceNamespace = p.Service.Name, p.Service.Namespace
		k.DestServicePortName, k.DestServicePort = or(p.Service.PortName), p.Service.Port
	}
	if v&misnamed != 0 {
		k.SourceName, k.SourceNamespace, k.SourceType = "pvt", none, goldmane.EndpointType_Network
	}
	return k
}
