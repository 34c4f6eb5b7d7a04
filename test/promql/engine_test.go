package promql

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/require"
)

// expressions is the language as Prometheus has it without feature flags.
var expressions = parser.NewParser(parser.Options{})

// points are the answer to an instant query, from the labels to the value.
type points map[string]float64

// ask loads samples, written as promtool's tests write them, and asks for expr so long
// after the first of them.
func ask(t *testing.T, samples, expr string, at time.Duration) points {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true, Parser: expressions})
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	storage := promqltest.LoadedStorage(t, "load 1m\n"+indent(samples))
	t.Cleanup(func() { require.NoError(t, storage.Close()) })
	query, err := engine.NewInstantQuery(t.Context(), storage, nil, expr, time.Unix(0, 0).Add(at))
	require.NoError(t, err, expr)
	defer query.Close()
	result := query.Exec(t.Context())
	require.NoError(t, result.Err, expr)
	vector, err := result.Vector()
	require.NoError(t, err, expr)
	p := points{}
	for _, sample := range vector {
		p[sample.Metric.String()] = sample.F
	}
	return p
}

func indent(samples string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(samples)) {
		b.WriteString("  " + strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

func requirePoints(t *testing.T, want, got points, expr string) {
	t.Helper()
	require.Len(t, got, len(want), "%s\n%v", expr, got)
	for labels, n := range want {
		require.Contains(t, got, labels, expr)
		require.InDelta(t, n, got[labels], 1e-6, "%s of %s", expr, labels)
	}
}
