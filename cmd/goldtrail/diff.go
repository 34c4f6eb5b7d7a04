package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

func (a *app) diffCommand() *cobra.Command {
	var before, after string
	var f wanted
	cmd := &cobra.Command{
		Use:   "diff --before A..B --after C..D",
		Short: "What has changed between two times",
		Long: `What has changed between two times: edges that appeared, vanished, or have another verdict.

An edge that was seen in one time only is listed apart, as "cannot tell", where it was seen in no
more windows than the other time lacks: the hole may hide it.`,
		Example: `  goldtrail diff --before 26h..25h --after 2h..1h
  goldtrail diff --before 2026-11-20..2026-11-21 --after 2026-11-21..2026-11-22 --ns payments`,
		Args:        wrongArgs(cobra.NoArgs),
		Annotations: map[string]string{formats: formatCSV},
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			q := &trail.DiffQuestion{Filter: filter}
			if q.Before, err = a.rangeOf("before", before); err != nil {
				return err
			}
			if q.After, err = a.rangeOf("after", after); err != nil {
				return err
			}
			if q.Before.To.After(q.After.From) {
				return usagef("'--before' ends at %s, and '--after' begins at %s: before must end first", a.clockTime(q.Before.To), a.clockTime(q.After.From))
			}
			source, _, err := a.source(cmd.Context())
			if err != nil {
				return err
			}
			t, err := a.trail(cmd.Context(), source, trail.Span{From: q.Before.From, To: q.After.To})
			if err != nil {
				return err
			}
			answer, err := t.Diff(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.print(t.Source, &renderings{
				answer: answer, notes: f.ifNothing(len(answer.Appeared) + len(answer.Vanished) + len(answer.Changed) + len(answer.Unclear) + answer.Same),
				earlier:  &answer.Before,
				coverage: &answer.After, cluster: answer.Cluster,
				table: func(w io.Writer) error { return a.diffTable(w, answer) },
				csv:   func(w *csv.Writer) error { return diffCSV(w, answer) },
			})
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&before, "before", "", "the earlier time, as from..to, each like --from of the other commands")
	cmd.Flags().StringVar(&after, "after", "", "the later time")
	refuseEmpty(cmd.Flags(), "before", "after")
	return cmd
}

// rangeOf reads from..to.
func (a *app) rangeOf(flag, text string) (trail.Span, error) {
	from, to, ok := strings.Cut(text, "..")
	if !ok || from == "" || to == "" {
		return trail.Span{}, usagef("'--%s' is %q: must be a time as from..to, like 26h..25h or 2026-11-20..2026-11-21", flag, text)
	}
	p := period{from: from, to: to}
	span, err := p.span(a.environment, nil)
	if err != nil {
		return span, usagef("'--%s': %w", flag, err)
	}
	return span, nil
}

func (a *app) diffTable(w io.Writer, answer *trail.DiffAnswer) error {
	for _, part := range []struct {
		title string
		edges []trail.Edge
	}{{"APPEARED", answer.Appeared}, {"VANISHED", answer.Vanished}} {
		if len(part.edges) == 0 {
			continue
		}
		t := newEdgeDiff()
		for i := range part.edges {
			e := &part.edges[i]
			t.addIn(actionColour(e.Action), e.Source, e.Destination, port(e.Port, e.Transport), e.Action, count(e.Windows), size(e.Bytes()), policies(e.Policies))
		}
		if err := a.part(w, part.title, t); err != nil {
			return err
		}
	}
	if len(answer.Changed) > 0 {
		t := &table{columns: []column{{title: "SOURCE", shrink: true}, {title: "DESTINATION", shrink: true}, {title: "PORT"}, {title: "BEFORE"}, {title: "AFTER"}, {title: "BY", drop: 1}}}
		for i := range answer.Changed {
			c := &answer.Changed[i]
			colour := ""
			if slices.Contains(c.After, flowlog.ActionDeny) {
				colour = red
			}
			t.addIn(colour, c.Source, c.Destination, port(c.Port, c.Transport), strings.Join(c.Before, ", "), strings.Join(c.After, ", "), policies(c.Policies))
		}
		if err := a.part(w, "ANOTHER VERDICT", t); err != nil {
			return err
		}
	}
	if len(answer.Unclear) > 0 {
		t := newEdgeDiff()
		t.columns = append(t.columns, column{title: "SEEN"}, column{title: "LACKING", right: true})
		for i := range answer.Unclear {
			e := &answer.Unclear[i]
			lacking := count(e.Lacking)
			if e.Unconfirmed {
				lacking = "verdict"
			}
			t.add(e.Source, e.Destination, port(e.Port, e.Transport), e.Action, count(e.Windows), size(e.Bytes()), policies(e.Policies), e.Seen, lacking)
		}
		if err := a.part(w, "CANNOT TELL: the other time lacks windows that can hide these, or one of the verdicts is unconfirmed", t); err != nil {
			return err
		}
	}
	a.say(w, "%d appeared, %d vanished, %d with another verdict, %d cannot tell, %d the same", len(answer.Appeared), len(answer.Vanished), len(answer.Changed), len(answer.Unclear), answer.Same)
	return nil
}

func newEdgeDiff() *table {
	return &table{columns: []column{
		{title: "SOURCE", shrink: true},
		{title: "DESTINATION", shrink: true},
		{title: "PORT"},
		{title: "ACTION"},
		{title: "WINDOWS", right: true, last: true},
		{title: "BYTES", right: true, last: true},
		{title: "BY", drop: 1},
	}}
}

func (a *app) part(w io.Writer, title string, t *table) error {
	a.say(w, "%s", title)
	err := t.print(w, a.environment)
	fmt.Fprintln(w)
	return err
}

func diffCSV(w *csv.Writer, answer *trail.DiffAnswer) error {
	if err := w.Write([]string{"change", "source", "destination", "port", "transport", "before", "after"}); err != nil {
		return err
	}
	row := func(change string, e *trail.Edge, before, after string) error {
		return w.Write([]string{change, e.Source, e.Destination, fmt.Sprint(e.Port), e.Transport, before, after})
	}
	for i := range answer.Appeared {
		if err := row("appeared", &answer.Appeared[i], "", answer.Appeared[i].Action); err != nil {
			return err
		}
	}
	for i := range answer.Vanished {
		if err := row("vanished", &answer.Vanished[i], answer.Vanished[i].Action, ""); err != nil {
			return err
		}
	}
	for i := range answer.Changed {
		c := &answer.Changed[i]
		e := &trail.Edge{Source: c.Source, Destination: c.Destination, Port: c.Port, Transport: c.Transport}
		if err := row("verdict", e, strings.Join(c.Before, " "), strings.Join(c.After, " ")); err != nil {
			return err
		}
	}
	for i := range answer.Unclear {
		e := &answer.Unclear[i]
		before, after := e.Action, ""
		if e.Seen == "after" {
			before, after = "", e.Action
		}
		if err := row("cannot_tell", &e.Edge, before, after); err != nil {
			return err
		}
	}
	return nil
}
