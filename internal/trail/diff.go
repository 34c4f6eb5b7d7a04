package trail

import (
	"cmp"
	"context"
	"slices"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// DiffQuestion is what Diff answers.
type DiffQuestion struct {
	Before, After Span
	Filter        Filter
}

// DiffAnswer is what has changed between two times.
type DiffAnswer struct {
	Cluster string `json:"cluster"`
	// Appeared are edges of the later time only, Vanished those of the earlier only.
	Appeared []Edge `json:"appeared"`
	Vanished []Edge `json:"vanished"`
	// Changed are source, destination and port whose verdict is another.
	Changed []VerdictChange `json:"changed"`
	// Unclear are edges that were seen in one time only, and nobody can tell whether they
	// changed: so rarely that the windows which the other lacks can hide them, or with one
	// of the two verdicts unconfirmed.
	Unclear []UnclearEdge `json:"cannot_tell"`
	Same    int           `json:"same"` // edges of both
	Before  Coverage      `json:"coverage_before"`
	After   Coverage      `json:"coverage_after"`
}

// VerdictChange is a change of what is allowed.
type VerdictChange struct {
	Source      string   `json:"source"`
	Destination string   `json:"destination"`
	Port        int64    `json:"port"`
	Transport   string   `json:"transport"`
	Before      []string `json:"before"` // actions
	After       []string `json:"after"`
	// Policies are the hits that decided in the later time.
	Policies []string `json:"policies"`
}

// UnclearEdge is an edge of which nobody can tell.
type UnclearEdge struct {
	Edge
	Seen string `json:"seen"` // "before" or "after"
	// Lacking is how many windows the other time lacks.
	Lacking int64 `json:"windows_lacking"`
	// Unconfirmed: the other time has traffic of the same ends and port, and one of the two
	// is unconfirmed, so that their verdicts cannot be compared.
	Unconfirmed bool `json:"unconfirmed"`
}

// Diff answers what has changed.
func (t *Trail) Diff(ctx context.Context, q *DiffQuestion) (*DiffAnswer, error) {
	var times [2][]Edge
	var coverages [2]Coverage
	for i, span := range []Span{q.Before, q.After} {
		s, err := t.sum(ctx, &question{interval: alignedTo(span), filter: &q.Filter, coarsest: q.Filter.coarsest(day)})
		if err != nil {
			return nil, err
		}
		times[i], coverages[i] = edgesOf(s.parts), s.coverage
	}
	return diff(t.Cluster, times[0], times[1], coverages[0], coverages[1]), nil
}

func diff(cluster string, before, after []Edge, coverBefore, coverAfter Coverage) *DiffAnswer {
	a := &DiffAnswer{
		Cluster: cluster, Before: coverBefore, After: coverAfter,
		Appeared: []Edge{}, Vanished: []Edge{}, Changed: []VerdictChange{}, Unclear: []UnclearEdge{},
	}
	old, young := actionsOf(before), actionsOf(after)
	// one looks at the edges of one time for those that the other has not.
	one := func(edges []Edge, others map[flowlog.Edge][]string, own, other *Coverage, seen string, list *[]Edge) {
		for i := range edges {
			e := &edges[i]
			pair := e.key()
			pair.Action = ""
			actions := others[pair]
			switch {
			case slices.Contains(actions, e.Action):
				if seen == "before" {
					a.Same++
				}
			case e.Action == flowlog.ActionUnconfirmed && len(actions) > 0, slices.Contains(actions, flowlog.ActionUnconfirmed):
				a.Unclear = append(a.Unclear, UnclearEdge{*e, seen, lacking(other), true})
			case hides(e, own, other):
				a.Unclear = append(a.Unclear, UnclearEdge{*e, seen, lacking(other), false})
			case len(actions) > 0:
				a.changed(e, old[pair], young[pair], after)
			default:
				*list = append(*list, *e)
			}
		}
	}
	one(before, young, &coverBefore, &coverAfter, "before", &a.Vanished)
	one(after, old, &coverAfter, &coverBefore, "after", &a.Appeared)
	slices.SortFunc(a.Appeared, func(a, b Edge) int { return byName(&a, &b) })
	slices.SortFunc(a.Vanished, func(a, b Edge) int { return byName(&a, &b) })
	slices.SortFunc(a.Unclear, func(a, b UnclearEdge) int { return byName(&a.Edge, &b.Edge) })
	slices.SortFunc(a.Changed, func(a, b VerdictChange) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Transport, b.Transport))
	})
	return a
}

// actionsOf are the actions of edges by edge without action, in order.
func actionsOf(edges []Edge) map[flowlog.Edge][]string {
	actions := make(map[flowlog.Edge][]string)
	for i := range edges {
		pair := edges[i].key()
		pair.Action = ""
		actions[pair] = append(actions[pair], edges[i].Action)
	}
	for _, list := range actions {
		slices.Sort(list)
	}
	return actions
}

// hides reports whether the windows that the other time lacks can hide the edge: it was
// seen in no more windows than that, at the pace of its own time.
func hides(e *Edge, own, other *Coverage) bool {
	lacks := lacking(other)
	if lacks == 0 {
		return false
	}
	length := other.To.Sub(other.From).Seconds() / own.To.Sub(own.From).Seconds()
	return float64(e.Windows)*length <= float64(lacks)
}

// lacking is how many windows of a time are not surely whole.
func lacking(c *Coverage) int64 {
	return c.Incomplete() + c.Before + c.Pending + c.Provisional
}

// changed notes a change of verdict, once.
func (a *DiffAnswer) changed(e *Edge, before, after []string, edges []Edge) {
	c := VerdictChange{Source: e.Source, Destination: e.Destination, Port: e.Port, Transport: e.Transport, Before: before, After: after, Policies: []string{}}
	for i := range a.Changed {
		if o := &a.Changed[i]; o.Source == c.Source && o.Destination == c.Destination && o.Port == c.Port && o.Transport == c.Transport {
			return
		}
	}
	for i := range edges {
		if o := &edges[i]; o.Source == c.Source && o.Destination == c.Destination && o.Port == c.Port && o.Transport == c.Transport && !slices.Contains(before, o.Action) {
			c.Policies = append(c.Policies, o.Policies...)
		}
	}
	a.Changed = append(a.Changed, c)
}
