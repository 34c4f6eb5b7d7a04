package promql

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// scraped are the labels that Prometheus itself adds.
var scraped = []string{"__name__", "instance", "job"}

// series are the metrics that queries may ask for, with their labels.
func series(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/series.txt")
	require.NoError(t, err)
	all := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		all[fields[0]] = nil
		if len(fields) > 1 {
			all[fields[0]] = strings.Split(fields[1], ",")
		}
	}
	return all
}

// requireSeries checks that a query asks for metrics and labels that are there, and marks
// the metrics in used.
func requireSeries(t *testing.T, expr string, used map[string]bool) {
	t.Helper()
	parsed, err := expressions.ParseExpr(expr)
	require.NoError(t, err, expr)
	known := series(t)
	labels := slices.Clone(scraped)
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			require.Contains(t, known, selector.Name, expr)
			used[selector.Name] = true
			labels = append(labels, known[selector.Name]...)
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			for _, matcher := range n.LabelMatchers {
				require.Contains(t, append(slices.Clone(scraped), known[n.Name]...), matcher.Name, expr)
			}
		case *parser.AggregateExpr:
			for _, label := range n.Grouping {
				require.Contains(t, labels, label, expr)
			}
		}
		return nil
	})
}

// All metrics in series.txt are asked for, by some query.
func TestSeriesAreAsked(t *testing.T) {
	used := map[string]bool{}
	for _, expr := range panels(t) {
		requireSeries(t, expr, used)
	}
	for _, rule := range alerts(t) {
		requireSeries(t, rule.Expr, used)
	}
	for metric := range series(t) {
		require.True(t, used[metric], "%s is in testdata/series.txt, and nothing asks for it", metric)
	}
}
