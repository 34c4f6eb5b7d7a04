package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// column is one column of a table.
type column struct {
	title string
	right bool // numbers
	// shrink is whether its texts may be cut, with a mark, where the terminal is narrow.
	shrink bool
	// drop is when the column is left out where the terminal is narrow: the highest first,
	// 0 never.
	drop int
	// last is whether the column is left out where cutting texts is not enough: the
	// rightmost first.
	last bool
	// short, if not nil, says a text in fewer letters where the terminal is narrow.
	short func(string) string
	// time is whether its texts are times of clockTime. Where the terminal is narrow, they
	// leave out the day if all of the table's have the same, or else the year.
	time bool
}

// table is rows of texts. Colour is chosen by row.
type table struct {
	columns []column
	rows    [][]string
	colours []string // of the rows, "" for none
}

const (
	gap = 2
	// leastWidth is to what a text may be cut; columns are left out before it is cut to
	// less than readableWidth.
	leastWidth    = 8
	readableWidth = 10
	mark          = "…"

	bold, red, yellow, dim, plain = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
)

// actionColour is the colour of what an action was done to, "" for none.
func actionColour(action string) string {
	switch action {
	case flowlog.ActionDeny:
		return red
	case flowlog.ActionUnconfirmed:
		return yellow
	}
	return ""
}

func (t *table) add(cells ...string) { t.addIn("", cells...) }

// addIn adds a row that is shown in a colour where there are any.
func (t *table) addIn(colour string, cells ...string) {
	for i := range cells {
		cells[i] = visible(cells[i])
	}
	t.rows = append(t.rows, cells)
	t.colours = append(t.colours, colour)
}

// visible puts U+FFFD for what does not print. A trail may be somebody else's file, and an
// identity with an escape or a line end in it could rule a terminal or add to a graph.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

// print writes the table so that it fits: columns that may be dropped are, then texts are
// said in fewer letters, and then cut.
func (t *table) print(w io.Writer, e *environment) error {
	shown, widths := t.fit(e.width)
	var b strings.Builder
	line := func(before string, cells func(i int) string) {
		b.WriteString(before)
		for n, i := range shown {
			text := cut(cells(i), widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if t.columns[i].right {
				text = pad + text
			} else if n < len(shown)-1 {
				text += pad
			}
			if n > 0 {
				b.WriteString(strings.Repeat(" ", gap))
			}
			b.WriteString(text)
		}
		if before != "" {
			b.WriteString(plain)
		}
		b.WriteByte('\n')
	}
	colour := func(c string) string {
		if e.colours() {
			return c
		}
		return ""
	}
	line(colour(bold), func(i int) string { return t.columns[i].title })
	for n, row := range t.rows {
		line(colour(t.colours[n]), func(i int) string { return row[i] })
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	for i := range t.columns {
		widths[i] = utf8.RuneCountInString(t.columns[i].title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	return widths
}

// fit returns the columns that are shown, and how wide. A width of 0 is any.
func (t *table) fit(width int) (shown, widths []int) {
	widths = t.widths()
	for i := range t.columns {
		shown = append(shown, i)
	}
	if width == 0 {
		return shown, widths
	}
	total := func(of func(i int) int) int {
		n := -gap
		for _, i := range shown {
			n += gap + of(i)
		}
		return n
	}
	whole := func(i int) int { return widths[i] }
	least := func(i int) int {
		if t.columns[i].shrink {
			return min(widths[i], readableWidth)
		}
		return widths[i]
	}
	for total(whole) > width {
		worst := -1
		for n, i := range shown {
			if t.columns[i].drop > 0 && (worst < 0 || t.columns[i].drop > t.columns[shown[worst]].drop) {
				worst = n
			}
		}
		if worst < 0 {
			break
		}
		shown = slices.Delete(shown, worst, worst+1)
	}
	if total(whole) > width {
		t.shorten()
		widths = t.widths()
	}
	for n := len(shown) - 1; n >= 0 && total(least) > width; n-- {
		if t.columns[shown[n]].last {
			shown = slices.Delete(shown, n, n+1)
		}
	}
	for total(whole) > width {
		widest := -1
		for _, i := range shown {
			if t.columns[i].shrink && widths[i] > leastWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return shown, widths
}

// shorten says texts in fewer letters.
func (t *table) shorten() {
	const day, year = len("2026-11-22 "), len("2026-")
	var times []string
	for i := range t.columns {
		for _, row := range t.rows {
			if t.columns[i].time {
				times = append(times, row[i])
			}
		}
	}
	same := func(n int) bool {
		return !slices.ContainsFunc(times, func(s string) bool { return s[:n] != times[0][:n] })
	}
	for i := range t.columns {
		short := t.columns[i].short
		switch {
		case t.columns[i].time && same(day):
			short = func(s string) string { return s[day:] }
		case t.columns[i].time && same(year):
			short = func(s string) string { return s[year:] }
		case short == nil:
			continue
		}
		for _, row := range t.rows {
			row[i] = short(row[i])
		}
	}
}

// cut shortens a text to a width, with a mark at its end.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + mark
}

// size is a number of bytes in a unit that keeps it below 1000.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		f /= 1000
		if f < 999.95 {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.1f PB", f/1000)
}

// port is a port and its transport.
func port(n int64, transport string) string {
	if n == 0 {
		return transport
	}
	return fmt.Sprintf("%d/%s", n, transport)
}

// count is a number with commas at the thousands.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
