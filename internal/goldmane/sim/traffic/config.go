package traffic

import (
	"encoding"
	"fmt"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// Config is a cluster and all that happens in it.
type Config struct {
	Seed   uint64
	Window time.Duration // whole seconds; 0 is 15 s
	Nodes  []Node
	// Pairs have different names, ports or protocols: what two of them have in common
	// would be one flow to Goldmane, sent twice by one node.
	Pairs []Pair
	// Passing are pairs that come and go.
	Passing []Passing
	// Begin and End bound what is sent. The zero Time is no bound.
	Begin, End time.Time
}

// Node is one of the cluster's, with a Felix that flushes.
type Node struct {
	Name string
	// Phase is where in its interval the node flushes, from 0 to 1.
	Phase float64
	// Interval is how many windows there are between two flushes, without the jitter;
	// 0 is 1. A node whose Felix was told to flush every 300 s has 20.
	Interval float64
	// Lag is how many windows a flush takes to Goldmane, about; 0 is a hundredth.
	Lag float64
	// Late is the share of flushes that take a window or two.
	Late float64
	// Straggling is the share of connections that a flush misses and the next has.
	Straggling float64
	// Skew is how far the node's clock is ahead.
	Skew time.Duration
	// Cut is when the node cannot reach Goldmane. When it can again it sends all that
	// it flushed in the last twenty windows, what had arrived before included.
	Cut Times
	// Silent is when what the node flushes is lost.
	Silent Times
}

// Pair is who talks to whom, on one port.
type Pair struct {
	Source, Dest End
	Port         int64
	Proto        string
	// Service is what the source dials in the share Dialled of its connections. In the
	// rest it dials the Pod.
	Service *Service
	Dialled float64
	// Blank spells what is not there "", where Felix mostly has "-".
	Blank bool

	Load
	Verdict Verdict
	Changes []Change // of the verdict, in order of time

	// Trace is the policies that a node reports; nil is none. Versions count from 0, one
	// more at each of Swaps, and again from 0 after the last of Versions, which is 1 to 8;
	// 0 is 1. A node that saw two versions in one flush reports the whole flush under each.
	Trace    func(r goldmane.Reporter, a goldmane.Action, version int) *goldmane.PolicyTrace
	Versions int
	Swaps    Times

	// Phantom has the destination's nodes report a denial without traffic at every flush,
	// from the first change of the verdict on; always, if there is no change.
	Phantom bool
	// Fleeting is set where every connection is a Pod of its own that is soon gone.
	Fleeting *Fleeting
	// Begin and End bound what is sent, as the Config's do.
	Begin, End time.Time
}

// End is one side of a pair. Only workloads have Pods, and only they are reported about
// by their nodes.
type End struct {
	Type            goldmane.EndpointType
	Namespace, Name string
	Labels          []string // of what is no workload
	Pods            []Pod
}

// Pod is one of a workload's.
type Pod struct {
	Node       int // index into Config.Nodes
	Labels     []string
	Begin, End time.Time // zero for no bound
}

// Service is what a destination's Pods are behind.
type Service struct {
	Namespace, Name, PortName string
	Port                      int64
}

// Load is how much a pair sends.
type Load struct {
	Share       float64 // of windows, in which anything is
	Connections float64 // in such a window, about
	Bytes       float64 // of a connection, both ways, about
	// Standing connections are held open besides, each for Lifetime windows. They send
	// in the share Busy of windows.
	Standing int
	Lifetime float64
	Busy     float64
}

// Fleeting Pods live for a part of a window.
type Fleeting struct {
	Life float64 // windows, about
	// Misnamed is how likely the destination's node reports a Pod that is gone by the
	// time of the flush as the private network.
	Misnamed float64
	// Unseen is how likely the source's node misses the Pod altogether.
	Unseen float64
}

// Change is a new verdict.
type Change struct {
	At      time.Time
	Verdict Verdict
}

// Passing makes pairs that live in a stretch of Span windows: those from epoch·Span on,
// counted since 1970. Pairs must be a pure function; two epochs that touch must have no
// name, port and protocol in common.
type Passing struct {
	Span  int64
	Pairs func(epoch int64) []Pair
}

// Verdict is what the policies make of a connection.
type Verdict int

// The verdicts.
const (
	Allowed Verdict = iota
	DeniedAtSource
	DeniedAtDestination
	verdicts
)

var verdictNames = [verdicts]string{"allowed", "denied at source", "denied at destination"}

func (v Verdict) String() string { return verdictNames[v] }

var (
	_ encoding.TextMarshaler   = Verdict(0)
	_ encoding.TextUnmarshaler = new(Verdict)
)

// MarshalText is for JSON.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText is for JSON.
func (v *Verdict) UnmarshalText(b []byte) error {
	for i, name := range verdictNames {
		if name == string(b) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no verdict", b)
}
