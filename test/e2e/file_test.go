//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

// What the Collector's file exporter writes answers as the Loki does that was sent the
// same, whether records are trimmed as for Loki or not.
func TestFileOfTheFileExporter(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := newStack(t)
	loki := startLoki(t, s)
	addr, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window, History: 40, Calm: true})
	require.NoError(t, err)
	cluster, folder := newCluster(), t.TempDir()
	trimmed, whole := filepath.Join(folder, "trimmed.jsonl"), filepath.Join(folder, "whole.jsonl")
	c, err := s.Collector(t.Context(), stack.CollectorOptions{
		Config: examples + "local.yaml",
		Set: append(slices.Clone(fastWindows), "receivers.goldmane.recheck_delay=12s",
			"exporters.file/trimmed.path="+trimmed, "service.pipelines.logs/loki.exporters=[otlp_http, file/trimmed]",
			"exporters.file/whole.path="+whole, "service.pipelines.logs.exporters=[forward, edges, file/whole]"),
		Env: map[string]string{"GOLDMANE_ENDPOINT": addr, "LOKI_URL": loki.URL, "K8S_CLUSTER_NAME": cluster},
	})
	require.NoError(t, err)
	// The command thinks in windows of 15 s.
	from := time.Now().Unix() - 20
	from += 15 - from%15
	to := from + 15
	requireSoon(t, func(ctx context.Context) error {
		final := 0
		for e, err := range loki.Entries(ctx, trail.Selector(flowlog.StreamCoverage, cluster), time.Unix(from, 0), time.Unix(to, 0)) {
			if err != nil {
				return err
			}
			if strings.Contains(e.Line, " complete final ") {
				final++
			}
		}
		if final < 15 {
			return fmt.Errorf("%d windows of 15 are final", final)
		}
		return nil
	})
	require.NoError(t, c.Stop())

	between := []string{"--cluster", cluster, "--from", rfc(from), "--to", rfc(to), "--output", "json"}
	for _, question := range [][]string{{"edges"}, {"edges", "--denied"}, {"flows", "--limit", "0"}, {"peers", "internet"}, {"coverage"}} {
		answer := func(source ...string) (answer map[string]any) {
			t.Helper()
			out := goldtrail(t, slices.Concat(question, between, source)...)
			require.NoError(t, json.Unmarshal(out, &answer))
			return answer
		}
		want := answer("--addr", loki.URL)
		assert.Equal(t, want, answer("--file", trimmed), "%v, records as Loki has them", question)
		assert.Equal(t, want, answer("--file", whole), "%v, records with all attributes", question)
		if question[0] == "flows" {
			t.Logf("%d flows", len(want["flows"].([]any)))
			assert.Greater(t, len(want["flows"].([]any)), 500, "the simulated cluster has more traffic than this")
		}
	}
}
