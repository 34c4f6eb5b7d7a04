//go:build e2e

package queries

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// The allowed edges that the picture has are those with the most bytes, so many between
// Services and so many from and to the outside: with all of some 360 nobody could follow
// one.
const shownInside, shownOutside = 36, 14

// dot writes the answer of the node graph's query for Graphviz. It is to be read on white
// and on black.
func dot(t *testing.T, result []series) string {
	t.Helper()
	type edge struct {
		source, target string
		color          string
		megabytes      float64
	}
	var edges []edge
	for _, s := range result {
		e := edge{source: s.Metric["source"], target: s.Metric["target"], color: s.Metric["color"]}
		_, err := fmt.Sscan(s.Value[1].(string), &e.megabytes)
		require.NoError(t, err)
		// What a Service says to itself, and nodes, would only stand in the way.
		if e.source != e.target && !strings.HasPrefix(e.source+e.target, "host:") && !strings.Contains(e.target, "host:") {
			edges = append(edges, e)
		}
	}
	slices.SortFunc(edges, func(a, b edge) int {
		return cmp.Or(cmp.Compare(b.megabytes, a.megabytes), cmp.Compare(a.source+a.target, b.source+b.target))
	})
	var b strings.Builder
	b.WriteString(`digraph {
  graph [bgcolor=transparent, rankdir=LR, ranksep=0.9, nodesep=0.14]
  node [shape=box, style="rounded,filled", fillcolor="#eaf1fb", color="#5b84c4", fontcolor="#10223d", fontname="Helvetica", fontsize=13, height=0.3, margin="0.2,0.05"]
  edge [color="#7d8fa8", arrowsize=0.6]
`)
	inside, across, outsiders := 0, 0, map[string]bool{}
	for _, e := range edges {
		switch {
		case e.color != colorOf(flowlog.ActionAllow):
		case outside(e.source) || outside(e.target):
			if across++; across > shownOutside {
				continue
			}
		default:
			if inside++; inside > shownInside {
				continue
			}
		}
		// The outside is on both sides of the picture: on the left what comes from there.
		source, target := e.source, e.target
		for _, end := range []struct {
			id   *string
			side string
		}{{&source, "from "}, {&target, "to "}} {
			if name := *end.id; outside(name) {
				*end.id = end.side + name
				if !outsiders[*end.id] {
					outsiders[*end.id] = true
					fmt.Fprintf(&b, "  %q [label=%q, fillcolor=\"#fdf0d5\", color=\"#c98a1b\"]\n", *end.id, name)
				}
			}
		}
		style := fmt.Sprintf("penwidth=%.1f", max(0.8, math.Log10(e.megabytes)+1.5))
		switch e.color {
		case colorOf(flowlog.ActionDeny):
			style = `color="#e5484d", style=dashed, penwidth=1.3, constraint=false`
		case colorOf(flowlog.ActionUnconfirmed):
			style = `color="#d97a1b", style=dotted, penwidth=1.3, constraint=false`
		}
		fmt.Fprintf(&b, "  %q -> %q [%s]\n", source, target, style)
	}
	b.WriteString("}\n")
	return b.String()
}
