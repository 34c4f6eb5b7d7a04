package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

func (a *app) peersCommand() *cobra.Command {
	var p period
	cmd := &cobra.Command{
		Use:   "peers SERVICE",
		Short: "With whom a Service talks, in and out",
		Long: `With whom a Service talks, in and out, and how steadily.

  stable     seen on at least 80 % of the days that the trail covers
  one-off    seen on one day only, or in at most 4 windows (a minute)
  recurring  all between

For less than three days, hours are counted instead of days; for less than three hours, windows.`,
		Example: `  goldtrail peers payments --since 7d
  goldtrail peers monitoring/grafana
  goldtrail peers 'monitoring/*' --output dot | dot -Tsvg > peers.svg`,
		Args:        wrongArgs(cobra.ExactArgs(1)),
		Annotations: map[string]string{formats: strings.Join([]string{formatCSV, formatMermaid, formatDOT}, " ")},
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return usagef("'SERVICE' is empty: name a Service, as `goldtrail edges` does; is a variable of your shell unset?")
			}
			t, span, err := a.open(cmd.Context(), &p)
			if err != nil {
				return err
			}
			answer, err := t.Peers(cmd.Context(), &trail.PeersQuestion{Span: span, Service: args[0]})
			if err != nil {
				return err
			}
			var notes []string
			if try := looser(answer.Service); try != "" && len(answer.Edges) == 0 {
				notes = append(notes, fmt.Sprintf("no edge of this time has the identity %q; %s: try goldtrail peers '%s'", answer.Service, identities, try))
			}
			return a.print(t.Source, &renderings{
				answer: answer, notes: notes,
				coverage: &answer.Coverage,
				table:    func(w io.Writer) error { return a.peersTable(w, answer) },
				csv:      func(w *csv.Writer) error { return peersCSV(w, answer) },
				graph:    func() *graph { return newGraph(answer.Edges) },
			})
		},
	}
	p.register(cmd.Flags())
	return cmd
}

func (a *app) peersTable(w io.Writer, answer *trail.PeersAnswer) error {
	for _, direction := range []struct {
		title string
		peers []trail.Peer
	}{{"IN: who talks to " + answer.Service, answer.In}, {"OUT: to whom " + answer.Service + " talks", answer.Out}} {
		a.say(w, "%s", direction.title)
		if len(direction.peers) == 0 {
			fmt.Fprint(w, "nobody\n\n")
			continue
		}
		t := &table{columns: []column{
			{title: "PEER", shrink: true},
			{title: "BAND"},
			{title: strings.ToUpper(answer.Slot) + "S", right: true},
			{title: "FLOWS", right: true, drop: 2},
			{title: "PORTS", shrink: true},
			{title: "BYTES", right: true},
			{title: "FIRST SEEN", drop: 3},
			{title: "LAST SEEN", drop: 1},
			{title: "BY", drop: 4},
		}}
		for i := range direction.peers {
			p := &direction.peers[i]
			ports, worst := portsText(p.Ports)
			t.addIn(actionColour(worst), p.Identity, p.Band, slots(p, answer), count(p.Flows), ports, size(p.Bytes()), a.clockTime(p.First), a.clockTime(p.Last), policies(p.Policies))
		}
		if err := t.print(w, a.environment); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	a.say(w, "%d in, %d out; %s", len(answer.In), len(answer.Out), a.about(answer.Cluster, &answer.Coverage))
	a.tellTunnel(w, answer.Edges)
	return nil
}

// slots is in how many of the slots the peer was seen; ≥ where that is a lower bound.
func slots(p *trail.Peer, answer *trail.PeersAnswer) string {
	text := fmt.Sprintf("%d/%d", p.Slots, answer.Slots)
	if p.AtLeast && answer.Slot == trail.SlotWindow {
		text = "≥" + text
	}
	return text
}

// portsText lists ports, those that were not allowed with what became of them; worst is
// the action to look at first.
func portsText(ports []trail.PeerPort) (text, worst string) {
	list := make([]string, 0, len(ports))
	for i := range ports {
		p := &ports[i]
		s := port(p.Port, p.Transport)
		switch p.Action {
		case flowlog.ActionAllow:
		case flowlog.ActionDeny:
			s += " denied"
			worst = p.Action
		default:
			s += " " + p.Action
			if worst == "" {
				worst = p.Action
			}
		}
		list = append(list, s)
	}
	return strings.Join(list, ", "), worst
}

func peersCSV(w *csv.Writer, answer *trail.PeersAnswer) error {
	if err := w.Write([]string{"direction", "peer", "band", "slots", "of_slots", "port", "transport", "action", "flows", "windows", "sent_bytes", "back_bytes", "connections_started", "first_seen", "last_seen", "windows_at_least"}); err != nil {
		return err
	}
	for _, direction := range []struct {
		name  string
		peers []trail.Peer
	}{{"in", answer.In}, {"out", answer.Out}} {
		for i := range direction.peers {
			p := &direction.peers[i]
			for j := range p.Ports {
				q := &p.Ports[j]
				if err := w.Write([]string{direction.name, p.Identity, p.Band, fmt.Sprint(p.Slots), fmt.Sprint(answer.Slots), fmt.Sprint(q.Port), q.Transport, q.Action, fmt.Sprint(q.Flows), fmt.Sprint(q.Windows), fmt.Sprint(q.SentBytes), fmt.Sprint(q.BackBytes), fmt.Sprint(q.ConnectionsStarted), q.First.Format(time.RFC3339), q.Last.Format(time.RFC3339), fmt.Sprint(q.AtLeast)}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
