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

func (a *app) coverageCommand() *cobra.Command {
	var p period
	cmd := &cobra.Command{
		Use:   "coverage",
		Short: "How complete the trail is",
		Long:  "How complete the trail is: windows complete, partial and missing, the holes with their causes, and a bar.",
		Example: `  goldtrail coverage --since 24h
  goldtrail coverage --from 02:00 --to 03:00`,
		Args:        wrongArgs(cobra.NoArgs),
		Annotations: map[string]string{formats: formatCSV},
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, span, err := a.open(cmd.Context(), &p)
			if err != nil {
				return err
			}
			answer, err := t.Coverage(cmd.Context(), span)
			if err != nil {
				return err
			}
			return a.print(t.Source, &renderings{
				answer:   answer,
				coverage: &answer.Coverage,
				table:    func(w io.Writer) error { return a.coverageTable(w, answer) },
				csv:      func(w *csv.Writer) error { return coverageCSV(w, &answer.Coverage) },
			})
		},
	}
	p.register(cmd.Flags())
	return cmd
}

func (a *app) coverageTable(w io.Writer, answer *trail.CoverageAnswer) error {
	c := &answer.Coverage
	a.say(w, "%s", a.about(answer.Cluster, c))
	fmt.Fprintf(w, "\n%s\n%s\n\n", bar(c, a.barWidth()), barLegend(c))
	counts := fmt.Sprintf("%s windows of %d s: %s complete, %s partial, %s missing", count(c.Windows), c.WindowSeconds, count(c.Complete), count(c.Partial), count(c.Missing))
	if c.Unrecorded > 0 {
		counts += fmt.Sprintf(", %s without a word", count(c.Unrecorded))
	}
	a.say(w, "%s", counts)
	if len(c.Holes) > 0 {
		t := &table{columns: []column{{title: "FROM", time: true}, {title: "TO", time: true}, {title: "WINDOWS", right: true, last: true}, {title: "STATUS"}, {title: "WHY", shrink: true}}}
		for i := range c.Holes {
			h := &c.Holes[i]
			colour := ""
			if h.Status == flowlog.StatusMissing || h.Status == trail.StatusUnrecorded {
				colour = red
			}
			t.addIn(colour, a.clockTime(h.From), a.clockTime(h.To), count(h.Windows), h.Status, why(h))
		}
		fmt.Fprintln(w)
		if err := t.print(w, a.environment); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

func why(h *trail.Hole) string {
	switch h.Status {
	case trail.StatusBefore:
		return "the trail begins later"
	case trail.StatusPending:
		return "too young to have been read"
	case trail.StatusUnrecorded:
		if h.Cause == "" {
			return "no word: is the collector running?"
		}
	}
	return causeText(h)
}

func (a *app) barWidth() int {
	if a.width > 0 {
		return min(a.width, 120)
	}
	return 80
}

// cells are how a bar shows windows, from the best to the worst: a cell is as bad as its
// worst window.
var cells = []struct {
	status, sign string
}{
	{flowlog.StatusComplete, "█"},
	{trail.StatusPending, "·"},
	{trail.StatusBefore, " "},
	{flowlog.StatusPartial, "▒"},
	{trail.StatusUnrecorded, "?"},
	{flowlog.StatusMissing, "░"},
}

// bar shows the range in width cells.
func bar(c *trail.Coverage, width int) string {
	worst := make([]int, width)
	seconds := func(to time.Time) int { return int(to.Sub(c.From) / time.Second) } // nanoseconds times width can be too many
	total := seconds(c.To)
	for _, h := range c.Holes {
		first := seconds(h.From) * width / total
		last := (seconds(h.To)*width - 1) / total
		for i := first; i <= min(last, width-1); i++ {
			for rank := range cells {
				if cells[rank].status == h.Status {
					worst[i] = max(worst[i], rank)
				}
			}
		}
	}
	var b strings.Builder
	for _, rank := range worst {
		b.WriteString(cells[rank].sign)
	}
	return b.String()
}

// barLegend says what the bar's signs mean, as far as it has them, and how long a cell is.
func barLegend(c *trail.Coverage) string {
	has := map[string]bool{flowlog.StatusComplete: c.Complete > 0}
	for i := range c.Holes {
		has[c.Holes[i].Status] = true
	}
	var parts []string
	for _, cell := range cells {
		if has[cell.status] && cell.sign != " " {
			parts = append(parts, cell.sign+" "+strings.ReplaceAll(cell.status, "_", " "))
		}
	}
	return strings.Join(parts, "  ")
}

func coverageCSV(w *csv.Writer, c *trail.Coverage) error {
	if err := w.Write([]string{"from", "to", "windows", "status", "cause", "pairs", "one_sided"}); err != nil {
		return err
	}
	for i := range c.Holes {
		h := &c.Holes[i]
		if err := w.Write([]string{h.From.Format(time.RFC3339), h.To.Format(time.RFC3339), fmt.Sprint(h.Windows), h.Status, h.Cause, fmt.Sprint(h.Pairs), fmt.Sprint(h.OneSided)}); err != nil {
			return err
		}
	}
	return nil
}
