package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Cluster is the cluster as it is for one seed. It does not change after New and may be
// used concurrently.
type Cluster struct {
	seed       uint64
	namespaces map[string]namespace
	workloads  []*workload
	byID       map[string]*workload
	edges      []*edge
}

// Arrival is one flow of one node on its way to Goldmane.
type Arrival struct {
	Flow *goldmane.Flow
	Node string
	// After is how long after the window's start the flow arrives.
	After time.Duration
}

// New lays the cluster out. Another seed gives other pod names, replicas elsewhere and
// other traffic between the same workloads.
func New(seed uint64) *Cluster {
	c := &Cluster{seed: seed, namespaces: make(map[string]namespace), byID: make(map[string]*workload)}
	for _, ns := range namespaces {
		c.namespaces[ns.name] = ns
		for _, s := range ns.workloads {
			w := newWorkload(seed, ns, s)
			c.workloads = append(c.workloads, w)
			c.byID[w.id()] = w
		}
	}
	c.connect()
	return c
}

// get is the workload that the tables call id. They are constant, so a name that is not
// there is a mistake in them.
func (c *Cluster) get(id string) *workload {
	w := c.byID[id]
	if w == nil {
		panic(fmt.Sprintf("cluster: the tables name %q, which is no workload", id))
	}
	return w
}

// Window is what the nodes report for the window [start, start+length), in the order of
// arrival. start is in seconds since the epoch and a multiple of length, which is whole
// seconds.
func (c *Cluster) Window(start int64, length time.Duration) []Arrival {
	index := start / int64(length/time.Second)
	r := report{c: c, index: uint64(index)}
	for n := range nodes {
		f, ok := c.flushOf(n, start, length)
		r.flushes = append(r.flushes, f)
		r.flushed = append(r.flushed, ok)
	}
	for _, e := range c.edges {
		r.edge(e)
	}
	for _, e := range c.passing(start, index) {
		r.edge(e)
	}
	slices.SortStableFunc(r.arrivals, func(a, b Arrival) int { return int(a.After - b.After) })
	return r.arrivals
}

// Wide is a window of exactly n distinct flow keys, one flow each, for measuring: the
// same cluster many times over, each time with other namespaces.
func (c *Cluster) Wide(start int64, length time.Duration, n int) []*goldmane.Flow {
	window := c.Window(start, length)
	flows := make([]*goldmane.Flow, 0, n)
	for tenant := 0; len(flows) < n; tenant++ {
		rename := func(ns string) string {
			if ns == "" || ns == "-" {
				return ns
			}
			return fmt.Sprintf("%s-t%03d", ns, tenant)
		}
		seen := make(map[string]bool)
		for _, a := range window {
			f := renamed(a.Flow, rename)
			if id := keyID(f.Key); !seen[id] && len(flows) < n {
				seen[id] = true
				flows = append(flows, f)
			}
		}
	}
	return flows
}

// keyID is the key as a string to compare by.
func keyID(k *goldmane.FlowKey) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(k)
	if err != nil {
		panic(fmt.Sprintf("cluster: the tables make a key that cannot be sent: %v", err))
	}
	return string(b)
}

// renamed is a copy of the flow in other namespaces.
func renamed(f *goldmane.Flow, rename func(string) string) *goldmane.Flow {
	k := f.Key
	relabel := func(labels []string) []string {
		out := make([]string, len(labels))
		for i, l := range labels {
			if ns, ok := strings.CutPrefix(l, "projectcalico.org/namespace="); ok {
				l = "projectcalico.org/namespace=" + rename(ns)
			}
			out[i] = l
		}
		return out
	}
	return &goldmane.Flow{
		Key: &goldmane.FlowKey{
			SourceName: k.SourceName, SourceNamespace: rename(k.SourceNamespace), SourceType: k.SourceType,
			DestName: k.DestName, DestNamespace: rename(k.DestNamespace), DestType: k.DestType, DestPort: k.DestPort,
			DestServiceName: k.DestServiceName, DestServiceNamespace: rename(k.DestServiceNamespace),
			DestServicePortName: k.DestServicePortName, DestServicePort: k.DestServicePort,
			Proto: k.Proto, Reporter: k.Reporter, Action: k.Action, Policies: moved(k.Policies, rename),
		},
		StartTime: f.StartTime, EndTime: f.EndTime,
		SourceLabels: relabel(f.SourceLabels), DestLabels: relabel(f.DestLabels),
		PacketsIn: f.PacketsIn, PacketsOut: f.PacketsOut, BytesIn: f.BytesIn, BytesOut: f.BytesOut,
		NumConnectionsStarted: f.NumConnectionsStarted, NumConnectionsCompleted: f.NumConnectionsCompleted,
		NumConnectionsLive: f.NumConnectionsLive,
	}
}

// newRand is a source that depends on the cluster, the window and the edge alone.
func (r *report) newRand(e *edge) *rand.Rand {
	return rand.New(rand.NewPCG(e.seed, mix(r.index+1)))
}
