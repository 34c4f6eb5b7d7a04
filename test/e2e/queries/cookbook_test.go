//go:build e2e

package queries

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/queries.md anew")

const cookbook = "../../../docs/queries.md"

// question is a query of the page, with the answer that it shows.
var question = regexp.MustCompile("(?s)```logql\n(.*?)\n```\n\n```text\n(.*?)```\n")

// The answers in docs/queries.md are what Loki says.
func TestCookbook(t *testing.T) {
	text, err := os.ReadFile(cookbook)
	require.NoError(t, err)
	questions := question.FindAllStringSubmatch(string(text), -1)
	require.Len(t, questions, 20)
	headings := regexp.MustCompile(`(?m)^### (\d+)\. `).FindAllStringSubmatch(string(text), -1)
	require.Len(t, headings, len(questions), "a question without a query, or one that is written otherwise")
	for i, h := range headings {
		assert.Equal(t, fmt.Sprint(i+1), h[1])
	}
	now := question.ReplaceAllStringFunc(string(text), func(block string) string {
		query := question.FindStringSubmatch(block)[1]
		return "```logql\n" + query + "\n```\n\n```text\n" + answer(t, query) + "```\n"
	})
	if *update {
		require.NoError(t, os.WriteFile(cookbook, []byte(now), 0o600))
		return
	}
	assert.Equal(t, now, string(text), "docs/queries.md is not what Loki says: run `make queries` and read the difference")
}

// answer asks Loki and writes what comes as the page shows it.
func answer(t *testing.T, query string) string {
	t.Helper()
	var b strings.Builder
	if strings.HasPrefix(query, "{") {
		_, result := ask(t, query, end, day*time.Second, hour*time.Second)
		lines := newest(result)
		require.NotEmpty(t, lines, query)
		const shown = 4
		for _, line := range lines[:min(len(lines), shown)] {
			b.WriteString(line + "\n")
		}
		if len(lines) > shown {
			fmt.Fprintf(&b, "... and %d more\n", len(lines)-shown)
		}
		return b.String()
	}
	kind, result := ask(t, query, end, 0, 0)
	require.Equal(t, "vector", kind)
	require.NotEmpty(t, result, query)
	type row struct {
		labels string
		n      float64
	}
	var rows []row
	width := 0
	for _, s := range result {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(s.Metric)) {
			parts = append(parts, name+"="+s.Metric[name])
		}
		r := row{labels: strings.Join(parts, " ")}
		_, err := fmt.Sscan(s.Value[1].(string), &r.n)
		require.NoError(t, err)
		rows = append(rows, r)
		width = max(width, len(r.labels))
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.labels, b.labels)) })
	for _, r := range rows {
		number := fmt.Sprintf("%.0f", r.n)
		if r.n < 1 {
			number = fmt.Sprintf("%.3f", r.n)
		}
		b.WriteString(strings.TrimLeft(fmt.Sprintf("%-*s  %s\n", width, r.labels, number), " "))
	}
	return b.String()
}

// newest are the lines of an answer, the newest first; those of one time by their text,
// since Loki gives them in any order.
func newest(result []series) []string {
	type entry struct{ nanos, line string }
	var entries []entry
	for _, s := range result {
		for _, v := range s.Values {
			entries = append(entries, entry{v[0].(string), v[1].(string)})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.nanos, a.nanos), cmp.Compare(a.line, b.line))
	})
	var lines []string
	for _, e := range entries {
		lines = append(lines, e.line)
	}
	return lines
}
