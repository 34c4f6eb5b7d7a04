//go:build e2e

package queries

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/test/stack"
)

// What PromQL asks for is what a running Collector exposes, by name and label. Some
// metrics begin only when something goes wrong that a test cannot bring about: of those the
// components' documentation must have the name and the label, which the others show to
// be what is exposed.
func TestMetricsAreThere(t *testing.T) {
	t.Parallel() // it mostly waits
	s := stack.New(t.TempDir())
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	addr, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: time.Second, History: 30})
	require.NoError(t, err)
	// It refuses everything for good, so that the exporter fails.
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
	}))
	t.Cleanup(refusing.Close)
	c, err := s.Collector(t.Context(), stack.CollectorOptions{
		Config: "../../../examples/local.yaml",
		Set: []string{
			"receivers.goldmane.window=1s", "receivers.goldmane.settle_delay=8s", "receivers.goldmane.recheck_delay=10s",
			"connectors.edges.known_edges.learn=0s", "connectors.edges.metrics.interval=1s",
		},
		Env: map[string]string{"GOLDMANE_ENDPOINT": addr, "LOKI_URL": refusing.URL, "K8S_CLUSTER_NAME": cluster},
	})
	require.NoError(t, err)

	text, err := os.ReadFile("../../promql/testdata/series.txt")
	require.NoError(t, err)
	asked := map[string][]string{} // labels by metric
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] != "#" {
			asked[fields[0]] = nil
			if len(fields) > 1 {
				asked[fields[0]] = strings.Split(fields[1], ",")
			}
		}
	}

	exposed := map[string]string{} // all series of a metric
	require.Eventually(t, func() bool {
		for _, url := range []string{c.MetricsURL, c.EdgesURL} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			if err != nil {
				return false
			}
			page, err := do(req)
			if err != nil {
				return false
			}
			for line := range strings.Lines(string(page)) {
				if name := regexp.MustCompile(`^\w+`).FindString(line); name != "" {
					exposed[name] += line
				}
			}
		}
		seen := 0
		for metric := range asked {
			if exposed[metric] != "" {
				seen++
			}
		}
		return seen >= 13 && exposed["otelcol_exporter_send_failed_log_records"] != ""
	}, time.Minute, 200*time.Millisecond, "too few metrics have come to say that names are exposed as they are documented")

	documented := documentation(t)
	for metric, labels := range asked {
		if lines, ok := exposed[metric]; ok {
			for _, label := range labels {
				assert.Contains(t, lines, label+`="`, "%s has no such label", metric)
			}
			continue
		}
		require.Contains(t, documented, metric, "it is neither exposed nor documented")
		for _, label := range labels {
			assert.Contains(t, documented[metric], fmt.Sprintf("\n| %s |", label), "%s has no such attribute", metric)
		}
	}
}

// documentation is what the components say of each of their metrics.
func documentation(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, component := range []string{"receiver/goldmanereceiver", "processor/svcidprocessor", "connector/edgesconnector"} {
		text, err := os.ReadFile("../../../" + component + "/documentation.md")
		require.NoError(t, err)
		for _, section := range strings.Split(string(text), "\n### ")[1:] {
			name, rest, _ := strings.Cut(section, "\n")
			all[name] = rest
		}
	}
	return all
}
