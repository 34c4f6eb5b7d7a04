package cluster

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

// Cluster is the cluster as it is for one seed. It may be used concurrently.
type Cluster struct {
	seed       uint64
	options    Options
	namespaces map[string]namespace
	workloads  []*workload
	byID       map[string]*workload
	edges      []*edge

	mu      sync.Mutex
	traffic map[time.Duration]*traffic.Traffic // guarded by mu: by the length of a window
}

// Options change what happens in a cluster. The zero value is all of it, for ever.
type Options struct {
	// Calm leaves out what makes a reader wait or miss something: no node is cut off or
	// silent, and that in the warehouse flushes as the others do.
	Calm bool
	// Begin and End bound the traffic, for whoever counts all of it. The zero Time is no
	// bound.
	Begin, End time.Time
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
func New(seed uint64) *Cluster { return With(seed, Options{}) }

// With is New, with options.
func With(seed uint64, o Options) *Cluster {
	c := &Cluster{seed: seed, options: o, namespaces: make(map[string]namespace), byID: make(map[string]*workload), traffic: make(map[time.Duration]*traffic.Traffic)}
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

// Window is the flows that nodes stamp with a second of the window [start, start+length),
// in the order in which they arrive for the first time: what is sent again after a cut
// is not in it. start is in seconds since the epoch and a multiple of length, which is
// whole seconds. Flows share their keys and labels.
func (c *Cluster) Window(start int64, length time.Duration) []Arrival {
	stamped := c.Traffic(length).Stamped(start, start+int64(length/time.Second))
	arrivals := make([]Arrival, len(stamped))
	for i, a := range stamped {
		arrivals[i] = Arrival{Flow: a.Flow, Node: a.Node, After: a.At.Sub(time.Unix(start, 0))}
	}
	return arrivals
}

// Arrivals is all that reaches Goldmane in [from, to), where a window has the given
// length, in order.
func (c *Cluster) Arrivals(from, to time.Time, window time.Duration) []traffic.Arrival {
	return c.Traffic(window).Arrivals(from, to)
}

// Truth is what was really sent in [from, to).
func (c *Cluster) Truth(from, to time.Time, window time.Duration) []traffic.Truth {
	return c.Traffic(window).Truth(from, to)
}

// Traffic is the cluster's where a window has the given length.
func (c *Cluster) Traffic(window time.Duration) *traffic.Traffic {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.traffic[window]
	if t == nil {
		t = traffic.New(c.Config(window))
		c.traffic[window] = t
	}
	return t
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
