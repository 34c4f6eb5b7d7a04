package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
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
}

// table is rows of texts. Colour is chosen by row.
type table struct {
	columns []column
	rows    [][]string
	red     map[int]bool // rows
}

const (
	gap = 2
	// leastWidth is to what a text may be cut.
	leastWidth = 12
	mark       = "…"

	bold, red, dim, plain = "\x1b[1m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
)

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// addRed adds a row that is shown in red where there are colours.
func (t *table) addRed(is bool, cells ...string) {
	if is {
		if t.red == nil {
			t.red = map[int]bool{}
		}
		t.red[len(t.rows)] = true
	}
	t.add(cells...)
}

// print writes the table so that it fits: columns that may be dropped are, then texts are
// cut.
func (t *table) print(w io.Writer, e *environment) error {
	widths := t.widths()
	shown := t.fit(widths, e.width)
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
		before := ""
		if t.red[n] {
			before = colour(red)
		}
		line(before, func(i int) string { return row[i] })
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

// fit returns the columns that are shown, and makes widths smaller where they must be.
func (t *table) fit(widths []int, width int) []int {
	shown := make([]int, len(t.columns))
	for i := range shown {
		shown[i] = i
	}
	total := func() int {
		n := -gap
		for _, i := range shown {
			n += gap + widths[i]
		}
		return n
	}
	for width > 0 && total() > width {
		worst := -1
		for n, i := range shown {
			if t.columns[i].drop > 0 && (worst < 0 || t.columns[i].drop > t.columns[shown[worst]].drop) {
				worst = n
			}
		}
		if worst < 0 {
			break
		}
		shown = append(shown[:worst], shown[worst+1:]...)
	}
	for width > 0 && total() > width {
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
	return shown
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
