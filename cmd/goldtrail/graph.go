package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

// graph is a map of services. What goes from one to another is an arrow for each outcome:
// allowed, denied, unconfirmed.
type graph struct {
	arrows []arrow
	remark string
}

type arrow struct {
	from, to string
	action   string
	ports    []string
	bytes    int64
}

func newGraph(edges []trail.Edge) *graph {
	g := &graph{}
	index := map[[3]string]int{}
	for i := range edges {
		e := &edges[i]
		key := [3]string{visible(e.Source), visible(e.Destination), visible(e.Action)}
		at, known := index[key]
		if !known {
			at = len(g.arrows)
			index[key] = at
			g.arrows = append(g.arrows, arrow{from: key[0], to: key[1], action: key[2]})
		}
		g.arrows[at].bytes += e.Bytes()
		if p := visible(port(e.Port, e.Transport)); !slices.Contains(g.arrows[at].ports, p) {
			g.arrows[at].ports = append(g.arrows[at].ports, p)
		}
	}
	return g
}

// label is the ports, at most three, and the bytes, behind what became of it.
func (a *arrow) label() string {
	outcome := ""
	switch a.action {
	case flowlog.ActionAllow:
	case flowlog.ActionDeny:
		outcome = "denied "
	default:
		outcome = a.action + " "
	}
	ports := a.ports
	more := ""
	if len(ports) > 3 {
		more = fmt.Sprintf(" +%d", len(ports)-3)
		ports = ports[:3]
	}
	return outcome + strings.Join(ports, " ") + more + ", " + size(a.bytes)
}

func (g *graph) nodes() []string {
	var nodes []string
	for i := range g.arrows {
		nodes = append(nodes, g.arrows[i].from, g.arrows[i].to)
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// mermaid writes a flowchart, which GitHub and others draw in a ```mermaid block.
func (g *graph) mermaid(w io.Writer) error {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	id := map[string]string{}
	for i, node := range g.nodes() {
		id[node] = "n" + strconv.Itoa(i)
		fmt.Fprintf(&b, "  %s[\"%s\"]\n", id[node], mermaidText(node))
	}
	for i := range g.arrows {
		a := &g.arrows[i]
		form := "  %s -. \"%s\" .-> %s\n"
		if a.action == flowlog.ActionAllow {
			form = "  %s -->|\"%s\"| %s\n"
		}
		fmt.Fprintf(&b, form, id[a.from], mermaidText(a.label()), id[a.to])
	}
	fmt.Fprintf(&b, "%%%% %s\n", g.remark)
	_, err := io.WriteString(w, b.String())
	return err
}

// mermaidText escapes what ends a quoted text of Mermaid.
func mermaidText(s string) string { return strings.NewReplacer(`"`, "#quot;", "#", "#35;").Replace(s) }

// dot writes a graph for Graphviz.
func (g *graph) dot(w io.Writer) error {
	var b strings.Builder
	b.WriteString("digraph trail {\n  rankdir=LR;\n  node [shape=box];\n")
	for _, node := range g.nodes() {
		fmt.Fprintf(&b, "  %s;\n", strconv.Quote(node))
	}
	for i := range g.arrows {
		a := &g.arrows[i]
		style := ""
		switch a.action {
		case flowlog.ActionAllow:
		case flowlog.ActionDeny:
			style = ", color=red, style=dashed"
		default:
			style = ", color=orange, style=dotted"
		}
		fmt.Fprintf(&b, "  %s -> %s [label=%s%s];\n", strconv.Quote(a.from), strconv.Quote(a.to), strconv.Quote(a.label()), style)
	}
	fmt.Fprintf(&b, "}\n// %s\n", g.remark)
	_, err := io.WriteString(w, b.String())
	return err
}
