package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

// defaultFlows is how many flows are shown if nothing is said: some screenfuls.
const defaultFlows = 100

func (a *app) flowsCommand() *cobra.Command {
	var p period
	var f wanted
	var limit int
	var follow bool
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Single flow records, the newest first, or as they come",
		Long:  "Single flow records, the newest first. With --follow those that come from now on: a window is in the trail about 75 s after its start. A record that is in no sum says so, and why.",
		Example: `  goldtrail flows --dst payments --denied
  goldtrail flows --follow --ns payments
  goldtrail flows --from 02:00 --to 02:15 --limit 0 --output csv`,
		Args:        wrongArgs(cobra.NoArgs),
		Annotations: map[string]string{formats: formatCSV},
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("'--limit' is %d: must not be negative; 0 is for all", limit)
			}
			if follow {
				for _, flag := range []string{"since", "from", "to", "limit", "file"} {
					if cmd.Flags().Changed(flag) {
						return usagef("'--follow' and '--%s' contradict each other: --follow begins now and does not end", flag)
					}
				}
				if a.output == formatCSV {
					return usagef("'--follow' and '--output csv' contradict each other: --output json gives a line for each flow")
				}
				return a.follow(cmd, &filter)
			}
			t, span, err := a.open(cmd.Context(), &p)
			if err != nil {
				return err
			}
			answer, err := t.Flows(cmd.Context(), &trail.FlowsQuestion{Span: span, Filter: filter, Limit: limit})
			if err != nil {
				return err
			}
			return a.print(t.Source, &renderings{
				answer: answer, notes: f.ifNothing(len(answer.Flows)),
				coverage: &answer.Coverage,
				table:    func(w io.Writer) error { return a.flowsTable(w, answer) },
				csv:      func(w *csv.Writer) error { return flowsCSV(w, answer.Flows) },
			})
		},
	}
	flags := cmd.Flags()
	p.register(flags)
	f.register(flags)
	flags.IntVar(&limit, "limit", defaultFlows, "how many flows at most, 0 for all")
	flags.BoolVarP(&follow, "follow", "f", false, "show flows as they come")
	return cmd
}

func (a *app) flowsTable(w io.Writer, answer *trail.FlowsAnswer) error {
	if len(answer.Flows) > 0 {
		t := &table{columns: []column{
			{title: "WINDOW", time: true},
			{title: "SOURCE", shrink: true},
			{title: "DESTINATION", shrink: true},
			{title: "PORT"},
			{title: "ACTION", short: shortAction},
			{title: "NOTE", shrink: true, short: shortNote},
			{title: "SENT", right: true, last: true},
			{title: "BACK", right: true, last: true},
			{title: "CONNS", right: true, drop: 1},
			{title: "BY", shrink: true, drop: 2},
			{title: "FROM", drop: 4},
			{title: "TO", drop: 3},
		}}
		const action, note = 4, 5
		noted := slices.ContainsFunc(answer.Flows, func(r trail.FlowRecord) bool { return noteOf(&r) != "" })
		t.columns[action].shrink = noted // there must be room for the note
		if !noted {
			t.columns = slices.Delete(t.columns, note, note+1)
		}
		for i := range answer.Flows {
			r := &answer.Flows[i]
			cells := []string{a.clockTime(r.Window), r.Source, r.Destination, port(r.Port, r.Transport), outcome(r), noteOf(r), size(r.SentBytes), size(r.BackBytes), count(r.ConnectionsStarted), orDash(r.Policy), r.SourceEndpoint, r.DestinationEndpoint}
			if !noted {
				cells = slices.Delete(cells, note, note+1)
			}
			t.addIn(flowColour(r), cells...)
		}
		if err := t.print(w, a.environment); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	head := "no flows match"
	if n := len(answer.Flows); n > 0 {
		head = count(int64(n)) + " flows"
		if answer.More {
			head = fmt.Sprintf("the newest %d flows; --limit 0 shows all", n)
		}
	}
	a.say(w, "%s; %s", head, a.about(answer.Cluster, &answer.Coverage))
	return nil
}

// outcome is what happened, and what would with staged policies in force. Those cannot
// confirm what is unconfirmed.
func outcome(r *trail.FlowRecord) string {
	if r.PendingAction == "" || r.PendingAction == r.Action || r.Action == flowlog.ActionUnconfirmed && r.PendingAction == flowlog.ActionAllow {
		return r.Action
	}
	return r.Action + staged + r.PendingAction + ")"
}

const staged = " (staged: "

func shortAction(s string) string { return strings.Replace(s, staged, " (", 1) }

// flowColour is the colour of a record; one that does not count is evidence of nothing.
func flowColour(r *trail.FlowRecord) string {
	if r.NotCounted != "" {
		return dim
	}
	return actionColour(r.Action)
}

// notCounted is why a record is in no sum, for people.
var notCounted = map[string]string{
	trail.NotCountedNoTraffic:     "no traffic",
	trail.NotCountedBySource:      "in the source's record",
	trail.NotCountedByDestination: "in the destination's record",
}

const notCountedHead = "not counted: "

// noteOf is what is special about a record.
func noteOf(r *trail.FlowRecord) string {
	var notes []string
	if r.NotCounted != "" {
		notes = append(notes, notCountedHead+notCounted[r.NotCounted])
	}
	if r.Split > 0 {
		notes = append(notes, fmt.Sprintf("of %d rows", r.Split))
	}
	if r.Late {
		notes = append(notes, "late")
	}
	return strings.Join(notes, ", ")
}

// shortNote says that a record is in no sum, without why.
func shortNote(s string) string {
	if strings.HasPrefix(s, notCountedHead) {
		return "uncounted"
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func flowsCSV(w *csv.Writer, flows []trail.FlowRecord) error {
	if err := w.Write([]string{"window", "source", "destination", "port", "transport", "action", "source_endpoint", "destination_endpoint", "service", "reporter", "pending_action", "policy", "late", "sent_packets", "sent_bytes", "back_packets", "back_bytes", "connections_started", "not_counted", "split"}); err != nil {
		return err
	}
	for i := range flows {
		r := &flows[i]
		if err := w.Write([]string{r.Window.Format(time.RFC3339), r.Source, r.Destination, fmt.Sprint(r.Port), r.Transport, r.Action, r.SourceEndpoint, r.DestinationEndpoint, r.Service, r.Reporter, r.PendingAction, r.Policy, fmt.Sprint(r.Late), fmt.Sprint(r.SentPackets), fmt.Sprint(r.SentBytes), fmt.Sprint(r.BackPackets), fmt.Sprint(r.BackBytes), fmt.Sprint(r.ConnectionsStarted), r.NotCounted, fmt.Sprint(r.Split)}); err != nil {
			return err
		}
	}
	return nil
}

// follow shows flows as they come, until it is interrupted.
func (a *app) follow(cmd *cobra.Command, filter *trail.Filter) error {
	now := a.clock.Now()
	source, _, err := a.source(cmd.Context())
	if err != nil {
		return err
	}
	t, err := a.trail(cmd.Context(), source, trail.Span{From: now.Add(-time.Hour), To: now})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.err, "following; a window comes about 75 s after its start; Ctrl-C ends")
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	q := &trail.FollowQuestion{Filter: *filter, Patience: a.connection.Patience, Trouble: func(err error) {
		if err == nil {
			fmt.Fprintln(a.err, "note: Loki answers again")
			return
		}
		_, message := explainError(cmd.Context(), err, &a.connection)
		fmt.Fprintf(a.err, "note: %s; asking again for --patience, %s\n", message, a.connection.Patience)
	}}
	return t.Follow(cmd.Context(), q, func(f *trail.Followed) error {
		if f.Window.Status != flowlog.StatusComplete {
			fmt.Fprintln(a.err, holeText(a.environment, &f.Window))
		}
		if f.Unreadable > 0 {
			fmt.Fprintln(a.err, "note: "+unreadableText(f.Unreadable))
		}
		for i := range f.Flows {
			r := &f.Flows[i]
			if a.output == formatJSON {
				if err := encoder.Encode(r); err != nil {
					return err
				}
				continue
			}
			if _, err := fmt.Fprintln(a.out, a.followedLine(r)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *app) followedLine(r *trail.FlowRecord) string {
	note := noteOf(r)
	if note != "" {
		note = "  " + note
	}
	line := visible(fmt.Sprintf("%s  %-5s %s -> %s %s  %s/%s  %s%s", r.Window.In(a.zone).Format(time.TimeOnly), outcome(r), r.Source, r.Destination, port(r.Port, r.Transport), size(r.SentBytes), size(r.BackBytes), orDash(r.Policy), note))
	if a.width > 0 {
		line = cut(line, a.width)
	}
	if colour := flowColour(r); colour != "" && a.colours() {
		return colour + line + plain
	}
	return line
}
