package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/trail"
)

const (
	formatTable   = "table"
	formatJSON    = "json"
	formatCSV     = "csv"
	formatMermaid = "mermaid"
	formatDOT     = "dot"
)

// renderings are the forms of an answer.
type renderings struct {
	answer   any // for JSON
	coverage *trail.Coverage
	// earlier, if not nil, is the coverage of the earlier of two times, each told by its name.
	earlier *trail.Coverage
	cluster string   // with earlier
	notes   []string // what else to say of the answer, on standard error
	table   func(w io.Writer) error
	csv     func(w *csv.Writer) error
	graph   func() *graph
}

// print writes the answer in the form that is wanted, then how complete it is.
func (a *app) print(source trail.Source, r *renderings) error {
	a.progress.done()
	for _, note := range append(notesOf(source), r.notes...) {
		fmt.Fprintln(a.err, "note: "+note)
	}
	switch a.output {
	case formatJSON:
		encoder := json.NewEncoder(a.out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r.answer)
	case formatCSV:
		w := csv.NewWriter(a.out)
		if err := r.csv(w); err != nil {
			return err
		}
		w.Flush()
		a.tellCoverage(a.err, r) // not among the rows
		return w.Error()
	case formatMermaid, formatDOT:
		g := r.graph()
		g.remark = visible(coverageText(a.environment, r.coverage))
		if a.output == formatDOT {
			return g.dot(a.out)
		}
		return g.mermaid(a.out)
	}
	if err := r.table(a.out); err != nil {
		return err
	}
	a.tellCoverage(a.out, r)
	return nil
}

// notesOf is what is odd about a source.
func notesOf(source trail.Source) []string {
	if s, ok := source.(interface{ Notes() []string }); ok {
		return s.Notes()
	}
	return nil
}

// tellCoverage ends an answer.
func (a *app) tellCoverage(w io.Writer, r *renderings) {
	if r.earlier == nil {
		a.tellOne(w, "", "", r.coverage)
		return
	}
	a.tellOne(w, "before: ", a.about(r.cluster, r.earlier)+": ", r.earlier)
	a.tellOne(w, "after:  ", a.about(r.cluster, r.coverage)+": ", r.coverage)
}

func (a *app) tellOne(w io.Writer, heading, about string, c *trail.Coverage) {
	text := about + coverageText(a.environment, c)
	if w != a.out {
		fmt.Fprintln(w, heading+text) // out's width is not its
		return
	}
	colour := dim
	if c.Incomplete() > 0 {
		colour = red
	}
	a.paragraph(w, colour, heading, text)
}

// shownHoles is how many holes end an answer. `goldtrail coverage` lists all.
const shownHoles = 3

// coverageText says in a sentence how complete an answer is.
func coverageText(e *environment, c *trail.Coverage) string {
	if c.Windows == 0 {
		return "coverage unknown: the trail has no word on these windows" + beside(c)
	}
	text := fmt.Sprintf("%s of %s windows complete", percent(c), count(c.Windows))
	var holes []trail.Hole
	for _, h := range c.Holes {
		if h.Status != trail.StatusBefore && h.Status != trail.StatusPending {
			holes = append(holes, h)
		}
	}
	slices.SortStableFunc(holes, func(a, b trail.Hole) int { return int(b.Windows - a.Windows) })
	more := max(0, len(holes)-shownHoles)
	holes = holes[:min(len(holes), shownHoles)]
	slices.SortFunc(holes, func(a, b trail.Hole) int { return a.From.Compare(b.From) })
	for _, h := range holes {
		text += "; " + holeText(e, &h)
	}
	if more > 0 {
		text += fmt.Sprintf("; and %d more (`goldtrail coverage` lists them)", more)
	}
	return text + beside(c)
}

// percent never says 100 where a window is not complete.
func percent(c *trail.Coverage) string {
	p := fmt.Sprintf("%.1f", c.Percent)
	if c.Complete < c.Windows && p == "100.0" {
		p = "99.9"
	}
	return strings.TrimSuffix(p, ".0") + " %"
}

// beside says what windows do not count, and what is not in the answer yet, or at all.
func beside(c *trail.Coverage) string {
	text := ""
	if c.Provisional > 0 {
		text += fmt.Sprintf("; %s provisional: late or undecided flows may still be added", oneOrMany(c.Provisional, "window is", "windows are"))
	}
	if c.Before > 0 {
		text += fmt.Sprintf("; %s older than the trail", count(c.Before))
	}
	if c.Pending > 0 {
		text += fmt.Sprintf("; the last %s are on their way", time.Duration(c.Pending*c.WindowSeconds)*time.Second)
	}
	if c.Unreadable > 0 {
		text += "; " + unreadableText(c.Unreadable)
	}
	return text
}

// unreadableText says what an answer lacks, and what to do.
func unreadableText(records int64) string {
	return fmt.Sprintf("%s left out, written by another version of goldtrail: ask about a time after the upgrade, or use that version", oneOrMany(records, "record is", "records are"))
}

func oneOrMany(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

func holeText(e *environment, h *trail.Hole) string {
	status := h.Status
	switch {
	case h.Status != trail.StatusUnrecorded:
	case h.Cause != "":
		status = "unreadable"
	default:
		status = "nothing recorded"
	}
	text := status + " " + e.timeRange(h.From, h.To)
	if h.Cause != "" {
		text += ", " + causeText(h)
	}
	return text
}

// causes are the causes of coverage and gap records for people.
var causes = map[string]string{
	"goldmane_restart":   "Goldmane restarted",
	"ring_overrun":       "Goldmane could not be read for longer than it keeps windows",
	"downstream_blocked": "the pipeline took nothing for longer than Goldmane keeps windows",
	"receiver_down":      "no receiver ran",
	"rejected":           "records were rejected",
	"not_rechecked":      "not looked at again for stragglers",
	"nodes_silent":       "nodes did not reach Goldmane",
	trail.CauseGone:      "the flow records are gone, only their coverage is kept",
	trail.CauseVersion:   "records of another version of goldtrail",
}

func causeText(h *trail.Hole) string {
	text, known := causes[h.Cause]
	if !known {
		text = h.Cause
	}
	if h.Pairs > 0 {
		text += fmt.Sprintf(": %s of %s pairs were seen from one end only", count(h.OneSided), count(h.Pairs))
	}
	return text
}

// timeRange is a range as people read it, with the days where it is not today's.
func (e *environment) timeRange(from, to time.Time) string {
	from, to = from.In(e.zone), to.In(e.zone)
	day := from.Format(time.DateOnly)
	text := from.Format(time.TimeOnly)
	if day != e.clock.Now().In(e.zone).Format(time.DateOnly) {
		text = day + " " + text
	}
	if to.Format(time.DateOnly) == day {
		return text + "–" + to.Format(time.TimeOnly)
	}
	return text + "–" + to.Format("2006-01-02 15:04:05")
}
