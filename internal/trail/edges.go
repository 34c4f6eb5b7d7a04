package trail

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// EdgesQuestion is what Edges answers.
type EdgesQuestion struct {
	Span   Span
	Filter Filter
	// NewSince, if not zero, leaves edges that were first seen at it or later; Span is then
	// how far back is looked for an earlier appearance. What is unconfirmed is not new where
	// the same ends and port were seen before, whatever became of it.
	NewSince time.Time
	// Sort is one of EdgeOrders, "bytes" if "".
	Sort string
	// Limit is how many edges are wanted, 0 for all.
	Limit int
}

// EdgesAnswer is who talked to whom.
type EdgesAnswer struct {
	Cluster string `json:"cluster"`
	Edges   []Edge `json:"edges"`
	// Found is how many edges there are, of which Edges are the first.
	Found int `json:"found"`
	// Denied and Unconfirmed are how many of them are.
	Denied      int      `json:"denied"`
	Unconfirmed int      `json:"unconfirmed"`
	Read        Read     `json:"read"`
	Coverage    Coverage `json:"coverage"`
}

// Edge is an edge and what was seen of it.
type Edge struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Port        int64  `json:"port"` // 0 where the transport has none
	Transport   string `json:"transport"`
	Action      string `json:"action"`
	Totals
	Policies     []string `json:"policies"`
	PoliciesMore int64    `json:"policies_more,omitempty"` // records decided by others
}

// Totals are sums over a time.
type Totals struct {
	Flows   int64 `json:"flows"`   // flow records that count
	Windows int64 `json:"windows"` // in which there was one
	// Packets and bytes from source to destination, and back.
	SentPackets          int64     `json:"sent_packets"`
	SentBytes            int64     `json:"sent_bytes"`
	BackPackets          int64     `json:"back_packets"`
	BackBytes            int64     `json:"back_bytes"`
	ConnectionsStarted   int64     `json:"connections_started"`
	ConnectionsCompleted int64     `json:"connections_completed"`
	First                time.Time `json:"first_seen"` // the start of the first window
	Last                 time.Time `json:"last_seen"`  // the end of the last
}

// Bytes are those of both directions.
func (t *Totals) Bytes() int64 { return t.SentBytes + t.BackBytes }

// key is what makes the edge.
func (e *Edge) key() flowlog.Edge {
	return flowlog.Edge{Source: e.Source, Destination: e.Destination, Port: e.Port, Transport: e.Transport, Action: e.Action}
}

// add adds what was seen in another time.
func (t *Totals) add(r *flowlog.Rollup) {
	t.Flows += r.Flows
	t.Windows += r.Windows
	t.SentPackets += r.SourcePackets
	t.SentBytes += r.SourceBytes
	t.BackPackets += r.DestinationPackets
	t.BackBytes += r.DestinationBytes
	t.ConnectionsStarted += r.ConnectionsStarted
	t.ConnectionsCompleted += r.ConnectionsCompleted
	first, last := time.Unix(r.First, 0).UTC(), time.Unix(r.Last, 0).UTC()
	if t.First.IsZero() || first.Before(t.First) {
		t.First = first
	}
	if last.After(t.Last) {
		t.Last = last
	}
}

// edgesOf adds parts up by edge.
func edgesOf(parts []flowlog.Rollup) []Edge {
	index := make(map[flowlog.Edge]int)
	var edges []Edge
	for i := range parts {
		p := &parts[i]
		at, known := index[p.Edge]
		if !known {
			at = len(edges)
			index[p.Edge] = at
			edges = append(edges, Edge{Source: p.Source, Destination: p.Destination, Port: p.Port, Transport: p.Transport, Action: p.Action})
		}
		edges[at].add(p)
		edges[at].Policies = append(edges[at].Policies, p.Policies...)
		edges[at].PoliciesMore += p.PoliciesMore
	}
	for i := range edges {
		slices.Sort(edges[i].Policies)
		edges[i].Policies = slices.Compact(edges[i].Policies)
		if edges[i].Policies == nil {
			edges[i].Policies = []string{}
		}
	}
	return edges
}

// EdgeOrders are the orders that edges can be sorted by.
var EdgeOrders = []string{"bytes", "flows", "windows", "connections", "first", "last", "name"}

// sortEdges puts the greatest first; of equal ones, and by name, the first in the alphabet.
// By first and last the newest is first.
func sortEdges(edges []Edge, order string) error {
	var by func(a, b *Edge) int
	switch order {
	case "", "bytes":
		by = func(a, b *Edge) int { return cmp.Compare(b.Bytes(), a.Bytes()) }
	case "flows":
		by = func(a, b *Edge) int { return cmp.Compare(b.Flows, a.Flows) }
	case "windows":
		by = func(a, b *Edge) int { return cmp.Compare(b.Windows, a.Windows) }
	case "connections":
		by = func(a, b *Edge) int { return cmp.Compare(b.ConnectionsStarted, a.ConnectionsStarted) }
	case "first":
		by = func(a, b *Edge) int { return b.First.Compare(a.First) }
	case "last":
		by = func(a, b *Edge) int { return b.Last.Compare(a.Last) }
	case "name":
		by = func(*Edge, *Edge) int { return 0 }
	default:
		return fmt.Errorf("no order %q: choose one of %s", order, strings.Join(EdgeOrders, ", "))
	}
	slices.SortFunc(edges, func(a, b Edge) int { return cmp.Or(by(&a, &b), byName(&a, &b)) })
	return nil
}

func byName(a, b *Edge) int {
	return cmp.Or(
		cmp.Compare(a.Source, b.Source),
		cmp.Compare(a.Destination, b.Destination),
		cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Transport, b.Transport),
		cmp.Compare(a.Action, b.Action),
	)
}

// Edges answers who talked to whom.
func (t *Trail) Edges(ctx context.Context, q *EdgesQuestion) (*EdgesAnswer, error) {
	s, err := t.sum(ctx, &question{interval: alignedTo(q.Span), filter: &q.Filter, coarsest: q.Filter.coarsest(day)})
	if err != nil {
		return nil, err
	}
	a := &EdgesAnswer{Cluster: t.Cluster, Edges: edgesOf(s.parts), Read: s.read, Coverage: s.coverage}
	if !q.NewSince.IsZero() {
		a.Edges = newSince(a.Edges, time.Unix(alignedTo(Span{q.NewSince, q.NewSince}).from, 0))
	}
	if err := sortEdges(a.Edges, q.Sort); err != nil {
		return nil, err
	}
	a.Found = len(a.Edges)
	for i := range a.Edges {
		switch a.Edges[i].Action {
		case flowlog.ActionDeny:
			a.Denied++
		case flowlog.ActionUnconfirmed:
			a.Unconfirmed++
		}
	}
	if q.Limit > 0 && len(a.Edges) > q.Limit {
		a.Edges = a.Edges[:q.Limit]
	}
	if a.Edges == nil {
		a.Edges = []Edge{}
	}
	return a, nil
}

// newSince leaves edges that were first seen at a time or later.
func newSince(edges []Edge, since time.Time) []Edge {
	pairs := make(map[flowlog.Edge]bool)
	pair := func(e *Edge) flowlog.Edge {
		key := e.key()
		key.Action = ""
		return key
	}
	for i := range edges {
		if edges[i].First.Before(since) {
			pairs[pair(&edges[i])] = true
		}
	}
	return slices.DeleteFunc(edges, func(e Edge) bool {
		return e.First.Before(since) || e.Action == flowlog.ActionUnconfirmed && pairs[pair(&e)]
	})
}

// coarsest is the longest interval whose rollups know what the filter asks.
func (f *Filter) coarsest(longest int64) int64 {
	if f.StagedDenied {
		return 0
	}
	return longest
}
