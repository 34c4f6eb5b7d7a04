package traffic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Options are what a random cluster has. The zero value has ten pairs for twenty windows
// and nodes that only have a phase and a jitter.
type Options struct {
	Window  time.Duration // 0 is 15 s
	Begin   time.Time     // when traffic begins; zero is a moment in 2023
	Windows int           // for how many it lasts; 0 is 20
	Pairs   int           // about so many; 0 is 10
	Nodes   int           // 0 is 2 to 5

	Late           bool // flushes come a window or two late
	Cuts           bool // a node is cut off for five windows
	Silent         bool // a node is silent for some
	Slow           bool // a node flushes every 300 s
	Stragglers     bool // a flush misses a connection that the next one has
	VerdictChanges bool
	Phantoms       bool // denials without traffic
	PolicySplits   bool // policies are replaced by equal ones of another name
	ShortLived     bool // Pods that live for a part of a window
	Replaced       bool // Pods that give way to others, on another node maybe
}

// Random is a small cluster with pairs of every kind.
func Random(rng *rand.Rand, o Options) Config {
	if o.Window == 0 {
		o.Window = 15 * time.Second
	}
	if o.Begin.IsZero() {
		o.Begin = time.Unix(1_700_000_010, 0)
	}
	if o.Windows == 0 {
		o.Windows = 20
	}
	if o.Pairs == 0 {
		o.Pairs = 10
	}
	if o.Nodes == 0 {
		o.Nodes = 2 + rng.IntN(4)
	}
	r := &drawing{Rand: rng, o: o}
	c := Config{
		Seed: rng.Uint64(), Window: o.Window,
		Begin: o.Begin, End: o.Begin.Add(time.Duration(o.Windows) * o.Window),
		Nodes: r.nodes(),
	}
	for range max(2, o.Pairs/3) {
		r.workloads = append(r.workloads, r.workload())
	}
	taken := make(map[string]bool)
	for i := range o.Pairs {
		p := r.pair(i)
		name := fmt.Sprint(p.Source.Namespace, p.Source.Name, p.Dest.Namespace, p.Dest.Name, p.Port, p.Proto)
		if !taken[name] {
			taken[name] = true
			c.Pairs = append(c.Pairs, p)
		}
	}
	return c
}

// drawing is a Random at work.
type drawing struct {
	*rand.Rand
	o         Options
	workloads []End
}

// moment is one in the time of traffic.
func (r *drawing) moment() time.Time {
	return r.o.Begin.Add(time.Duration(r.Float64() * float64(r.o.Windows) * float64(r.o.Window)))
}

func (r *drawing) windows(n float64) time.Duration {
	return time.Duration(n * float64(r.o.Window))
}

func (r *drawing) nodes() []Node {
	nodes := make([]Node, r.o.Nodes)
	for i := range nodes {
		n := &nodes[i]
		n.Name, n.Phase = fmt.Sprintf("node-%d", i), r.Float64()
		if r.o.Late {
			n.Late = 0.05
		}
		if r.o.Stragglers {
			n.Straggling = 0.001
		}
	}
	if r.o.Cuts {
		nodes[r.IntN(len(nodes))].Cut = Times{{First: r.moment(), Length: r.windows(5)}}
	}
	if r.o.Silent {
		nodes[r.IntN(len(nodes))].Silent = Times{{First: r.moment(), Length: r.windows(3 + 10*r.Float64())}}
	}
	if r.o.Slow {
		nodes[r.IntN(len(nodes))].Interval = 20
	}
	return nodes
}

func (r *drawing) workload() End {
	n := len(r.workloads)
	e := End{
		Type:      goldmane.EndpointType_WorkloadEndpoint,
		Namespace: fmt.Sprintf("ns-%d", r.IntN(1+r.o.Pairs/5)), Name: fmt.Sprintf("app-%d-*", n),
	}
	for i := range 1 + r.IntN(3)*r.IntN(3) {
		p := Pod{Node: r.IntN(r.o.Nodes), Labels: []string{"app=" + e.Name, fmt.Sprintf("pod=%d", i)}}
		if r.o.Replaced && r.IntN(4) == 0 {
			next := p
			next.Node = r.IntN(r.o.Nodes)
			p.End = r.moment()
			next.Begin = p.End
			e.Pods = append(e.Pods, next)
		}
		e.Pods = append(e.Pods, p)
	}
	return e
}

// outside is an end without a Pod.
func (r *drawing) outside() End {
	return []End{
		{Type: goldmane.EndpointType_Network, Name: "pub"},
		{Type: goldmane.EndpointType_Network, Name: "pvt"},
		{Type: goldmane.EndpointType_NetworkSet, Name: "partners", Labels: []string{"partner=yes"}},
		{Type: goldmane.EndpointType_NetworkSet, Namespace: "ns-0", Name: "suppliers"},
		{Type: goldmane.EndpointType_HostEndpoint, Name: "node-0"},
	}[r.IntN(5)]
}

func (r *drawing) pair(i int) Pair {
	p := Pair{
		Source: r.workloads[r.IntN(len(r.workloads))], Dest: r.workloads[r.IntN(len(r.workloads))],
		Port: 8080 + int64(r.IntN(3)), Proto: "tcp",
		Load: Load{Share: 0.2 + 0.8*r.Float64(), Connections: 1 + 9*r.Float64(), Bytes: 200 + 9000*r.Float64()},
	}
	switch r.IntN(6) {
	case 0:
		p.Proto, p.Port = "udp", 53
	case 1:
		p.Share = 0.1
	case 2:
		p.Standing, p.Lifetime, p.Busy = 1+r.IntN(3), 4+30*r.Float64(), r.Float64()
	}
	switch r.IntN(8) {
	case 0:
		p.Dest = r.outside()
	case 1:
		p.Source = r.outside()
	case 2:
		p.Verdict = DeniedAtSource
	case 3, 4:
		p.Verdict = DeniedAtDestination
	}
	if len(p.Dest.Pods) > 0 && r.IntN(2) == 0 {
		p.Service = &Service{Namespace: p.Dest.Namespace, Name: "svc", PortName: "http", Port: 80}
		p.Dialled = []float64{0.5, 1}[r.IntN(2)]
	}
	if r.o.VerdictChanges && len(p.Dest.Pods) > 0 && r.IntN(3) == 0 {
		for range 1 + r.IntN(2) {
			p.Changes = append(p.Changes, Change{r.moment(), []Verdict{Allowed, DeniedAtDestination}[r.IntN(2)]})
		}
		slices.SortFunc(p.Changes, func(a, b Change) int { return a.At.Compare(b.At) })
	}
	if r.o.Phantoms && len(p.Dest.Pods) > 0 && r.IntN(3) == 0 {
		p.Phantom = true
	}
	if r.o.PolicySplits && len(p.Dest.Pods) > 0 && r.IntN(2) == 0 {
		p.Versions, p.Swaps = 2, Times{{First: r.moment(), Every: r.windows(1.4)}}
	}
	if r.o.ShortLived && len(p.Source.Pods) > 0 && len(p.Dest.Pods) > 0 && r.IntN(5) == 0 {
		// A port of its own: what it is misnamed to must be no other pair's.
		p.Port = 9000 + int64(i)
		p.Fleeting = &Fleeting{Life: 0.2 + 0.6*r.Float64(), Misnamed: 0.1, Unseen: 0.1}
		p.Standing = 0
	}
	p.Trace = plain(p.Dest.Namespace)
	return p
}

// plain is one policy a side.
func plain(namespace string) func(goldmane.Reporter, goldmane.Action, int) *goldmane.PolicyTrace {
	return func(r goldmane.Reporter, a goldmane.Action, version int) *goldmane.PolicyTrace {
		policy := &goldmane.PolicyHit{Kind: goldmane.PolicyKind_NetworkPolicy, Tier: "default", Namespace: namespace, Name: "in", Action: a}
		if r == goldmane.Reporter_Src {
			policy.Name = "out"
		} else if version > 0 {
			policy.Name = fmt.Sprintf("in-v%d", version+1)
		}
		if a == goldmane.Action_Deny {
			trigger := policy
			trigger.Action = 0
			policy = &goldmane.PolicyHit{Kind: goldmane.PolicyKind_EndOfTier, Tier: "default", Action: a, RuleIndex: -1, Trigger: trigger}
		}
		hits := []*goldmane.PolicyHit{policy}
		return &goldmane.PolicyTrace{EnforcedPolicies: hits, PendingPolicies: hits}
	}
}
