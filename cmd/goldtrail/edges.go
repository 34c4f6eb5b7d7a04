package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/goldtrail/goldtrail/internal/trail"
)

func (a *app) edgesCommand() *cobra.Command {
	var p period
	var f wanted
	var order, newSince string
	var limit int
	cmd := &cobra.Command{
		Use:   "edges",
		Short: "Who talks to whom",
		Long: `Who talks to whom: an edge is source, destination, port, transport, and whether it was allowed.

"unconfirmed" is what the source's node let go, and the destination's node said nothing of.
Whole hours and days are read from the rollups, the rest from flow records.`,
		Example: `  goldtrail edges --since 1h
  goldtrail edges --dst payments --since 90d
  goldtrail edges --from 02:00 --to 02:15 --denied
  goldtrail edges --new-since 24h
  goldtrail edges --ns monitoring --output mermaid`,
		Args:        wrongArgs(cobra.NoArgs),
		Annotations: map[string]string{formats: strings.Join([]string{formatCSV, formatMermaid, formatDOT}, " ")},
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := trail.EdgesQuestion{Sort: order, Limit: limit}
			var err error
			if q.Filter, err = f.filter(); err != nil {
				return err
			}
			if !slices.Contains(trail.EdgeOrders, order) {
				return usagef("'--sort' is %q: must be one of %s", order, strings.Join(trail.EdgeOrders, ", "))
			}
			if limit < 0 {
				return usagef("'--limit' is %d: must not be negative; 0 is for all", limit)
			}
			if newSince != "" {
				if q.NewSince, err = a.newSince(newSince, &p); err != nil {
					return err
				}
			}
			t, span, err := a.open(cmd.Context(), &p)
			if err != nil {
				return err
			}
			q.Span = span
			if newSince != "" {
				if err := a.checkNewSince(q.NewSince, span, &p); err != nil {
					return err
				}
			}
			answer, err := t.Edges(cmd.Context(), &q)
			if err != nil {
				return err
			}
			notes := f.ifNothing(answer.Found)
			if note := a.nothingEarlier(q.NewSince, &answer.Coverage); newSince != "" && note != "" {
				notes = append(notes, note)
			}
			return a.print(t.Source, &renderings{
				answer: answer, notes: notes,
				coverage: &answer.Coverage,
				table:    func(w io.Writer) error { return a.edgesTable(w, answer, q.NewSince) },
				csv:      func(w *csv.Writer) error { return edgesCSV(w, answer.Edges) },
				graph:    func() *graph { return newGraph(answer.Edges) },
			})
		},
	}
	flags := cmd.Flags()
	p.register(flags)
	f.register(flags)
	flags.StringVar(&newSince, "new-since", "", "only edges that were first seen in this time: 24h, or a time; looks back 90d for earlier ones, or what --since or --from says")
	refuseEmpty(flags, "new-since")
	flags.StringVar(&order, "sort", "bytes", strings.Join(trail.EdgeOrders, ", "))
	flags.IntVar(&limit, "limit", 0, "how many edges at most, 0 for all")
	must(cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(trail.EdgeOrders, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// lookBack is how far back --new-since looks for earlier appearances.
const lookBack = "90d"

// newSince is when the time begins that an edge must be new in.
func (a *app) newSince(text string, p *period) (time.Time, error) {
	at, err := parseTime(text, a.clock.Now(), a.zone)
	if err != nil {
		return at, usagef("'--new-since' is %q: %w", text, err)
	}
	if p.since == "" && p.from == "" && a.connection.File == "" {
		p.since = lookBack
		if p.to != "" {
			p.since, p.from = "", lookBack
		}
	}
	return at, nil
}

// checkNewSince refuses a time to be new in that is none of the span, or all of it.
func (a *app) checkNewSince(begin time.Time, span trail.Span, p *period) error {
	switch {
	case begin.After(a.clock.Now()):
		return usagef("'--new-since' begins at %s, which is still to come", a.clockTime(begin))
	case !begin.Before(span.To):
		return usagef("'--new-since' begins at %s, and the time that is asked about ends at %s: it must begin before it ends", a.clockTime(begin), a.clockTime(span.To))
	case !span.From.Before(begin) && (p.since != "" || p.from != ""):
		return usagef("'--new-since' begins at %s, and the time to look for earlier appearances at %s: give an earlier --from, or a longer --since", a.clockTime(begin), a.clockTime(span.From))
	}
	return nil
}

// fewEarlier is how much of the trail must lie before --new-since to say that an edge is
// new without a word.
const fewEarlier = time.Hour

// nothingEarlier says that there is no trail to tell an edge that is new by, or little.
func (a *app) nothingEarlier(since time.Time, c *trail.Coverage) string {
	begin := c.From
	for _, h := range c.Holes {
		nothing := h.Status == trail.StatusBefore || h.Status == trail.StatusUnrecorded && h.Cause == trail.CauseVersion
		if !nothing || !h.From.Equal(begin) {
			break
		}
		begin = h.To
	}
	switch earlier := since.Sub(begin); {
	case earlier <= 0:
		return fmt.Sprintf("the trail begins at %s, not before --new-since: there is nothing earlier to compare with, and every edge counts as new", a.clockTime(begin))
	case earlier < fewEarlier:
		return fmt.Sprintf("only %s of the trail are compared with, from %s until --new-since: what is seen more rarely counts as new", earlier.Round(time.Second), a.clockTime(begin))
	}
	return ""
}

func (a *app) edgesTable(w io.Writer, answer *trail.EdgesAnswer, newSince time.Time) error {
	if len(answer.Edges) > 0 {
		t := &table{columns: []column{
			{title: "SOURCE", shrink: true},
			{title: "DESTINATION", shrink: true},
			{title: "PORT"},
			{title: "ACTION"},
			{title: "FLOWS", right: true, last: true},
			{title: "BYTES", right: true},
			{title: "CONNS", right: true, drop: 2},
			{title: "FIRST SEEN", drop: 3},
			{title: "LAST SEEN", drop: 1},
			{title: "BY", drop: 4},
		}}
		for i := range answer.Edges {
			e := &answer.Edges[i]
			t.addIn(actionColour(e.Action), e.Source, e.Destination, port(e.Port, e.Transport), e.Action, count(e.Flows), size(e.Bytes()), count(e.ConnectionsStarted), a.clockTime(e.First), a.clockTime(e.Last), policies(e.Policies))
		}
		if err := t.print(w, a.environment); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	what := "edges"
	if !newSince.IsZero() {
		what = "edges first seen since " + a.clockTime(newSince)
	}
	head := fmt.Sprintf("%s %s, %s denied", count(int64(answer.Found)), what, count(int64(answer.Denied)))
	if answer.Unconfirmed > 0 {
		head += fmt.Sprintf(", %s unconfirmed", count(int64(answer.Unconfirmed)))
	}
	if answer.Found == 0 {
		head = "no " + what + " match"
	} else if len(answer.Edges) < answer.Found {
		head += fmt.Sprintf("; the first %d are shown", len(answer.Edges))
	}
	a.say(w, "%s; %s", head, a.about(answer.Cluster, &answer.Coverage))
	a.tellTunnel(w, answer.Edges)
	return nil
}

// tunnelPort is that of HBONE, the tunnel of Istio's ambient mode, over TCP.
const tunnelPort = 15008

// tellTunnel says what edges of a tunnel do not tell.
func (a *app) tellTunnel(w io.Writer, edges []trail.Edge) {
	if slices.ContainsFunc(edges, func(e trail.Edge) bool { return e.Port == tunnelPort && e.Transport == "tcp" }) {
		a.say(w, "%d/tcp is the tunnel of Istio's ambient mode (HBONE): source and destination are the tunnel's ends, and the ports inside it are not seen", tunnelPort)
	}
}

// about says what an answer is about: the cluster and the time.
func (a *app) about(cluster string, c *trail.Coverage) string {
	text := a.clockTime(c.From) + " to " + a.clockTime(c.To)
	if cluster != "" {
		text = "cluster " + visible(cluster) + ", " + text
	}
	return text
}

// policies are policy hits for a table: the first, and how many more.
func policies(hits []string) string {
	switch len(hits) {
	case 0:
		return "-"
	case 1:
		return hits[0]
	}
	return fmt.Sprintf("%s +%d", hits[0], len(hits)-1)
}

func edgesCSV(w *csv.Writer, edges []trail.Edge) error {
	if err := w.Write([]string{"source", "destination", "port", "transport", "action", "flows", "windows", "sent_packets", "sent_bytes", "back_packets", "back_bytes", "connections_started", "connections_completed", "first_seen", "last_seen", "policies"}); err != nil {
		return err
	}
	for i := range edges {
		e := &edges[i]
		if err := w.Write([]string{e.Source, e.Destination, fmt.Sprint(e.Port), e.Transport, e.Action, fmt.Sprint(e.Flows), fmt.Sprint(e.Windows), fmt.Sprint(e.SentPackets), fmt.Sprint(e.SentBytes), fmt.Sprint(e.BackPackets), fmt.Sprint(e.BackBytes), fmt.Sprint(e.ConnectionsStarted), fmt.Sprint(e.ConnectionsCompleted), e.First.Format(time.RFC3339), e.Last.Format(time.RFC3339), strings.Join(e.Policies, " ")}); err != nil {
			return err
		}
	}
	return nil
}
