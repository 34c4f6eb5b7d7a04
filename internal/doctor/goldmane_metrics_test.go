package doctor

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What Goldmane 3.32.1 serves, shortened, and what is in 3.33's besides.
const (
	goldmane332 = `# HELP goldmane_aggr_dropped_flows_total Total number of flows dropped by the aggregator.
# TYPE goldmane_aggr_dropped_flows_total counter
goldmane_aggr_dropped_flows_total 0
# TYPE goldmane_aggr_flow_index_latency_ms summary
goldmane_aggr_flow_index_latency_ms{quantile="0.5"} 0.02
goldmane_aggr_flow_index_latency_ms_sum 5234.1
goldmane_aggr_flow_index_latency_ms_count 71234
# TYPE goldmane_aggr_received_flows_total counter
goldmane_aggr_received_flows_total 71234
# TYPE goldmane_collector_received_flows counter
goldmane_collector_received_flows{source="10.0.0.1:40112"} 30000
goldmane_collector_received_flows{source="10.0.0.1:51244"} 1234
goldmane_collector_received_flows{source="10.0.0.2:40114"} 40000
goldmane_collector_received_flows{source="[fd00::3]:40116"} 7
# TYPE goldmane_num_streams gauge
goldmane_num_streams 1
`
	goldmane333 = goldmane332 + "# TYPE goldmane_collector_num_clients gauge\ngoldmane_collector_num_clients "
)

func TestGoldmanesMetrics(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, metrics string
		check         string
		want          wanted
	}{
		{"3.32", goldmane332, "nodes", wanted{OK, "3 have sent flows since Goldmane started: as many as there are", ""}},
		{"3.32", goldmane332, "dropped flows", wanted{OK, "none of 71234", ""}},
		{"3.33", goldmane333 + "5\n", "nodes", wanted{OK, "5 connected: as many as there are", ""}},
		{"3.33, none is connected", goldmane333 + "0\n", "nodes", wanted{Failure, "none is connected", "7443/tcp"}},
		{"none has sent", "goldmane_aggr_received_flows_total 0\n", "nodes", wanted{Failure, "none has sent a flow", "7443/tcp"}},
		{"dropped", "goldmane_aggr_received_flows_total 90\ngoldmane_aggr_dropped_flows_total 10\n", "dropped flows", wanted{Warning, "of 100 flows since it started it has dropped 10", "receive channel full"}},
		{"the Collector's", counted, "metrics", wanted{Warning, "none of Goldmane", "svc/goldmane-metrics"}},
		{"no metrics", "<html>\n", "metrics", wanted{Failure, "http://127.0.0.1", "metricsPort"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
				_, err := w.Write([]byte(tt.metrics))
				assert.NoError(t, err)
			}))
			t.Cleanup(web.Close)
			// Its metrics alone, without a Goldmane to ask.
			checks := examineGoldmane(t, &Goldmane{MetricsURL: web.URL}, clockwork.NewFakeClock())
			requireCheck(t, checks, tt.check, tt.want)
			requireCheck(t, checks, "reach", wanted{Skipped, "--goldmane host:port", ""})
		})
	}
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	requireCheck(t, examineGoldmane(t, &Goldmane{MetricsURL: web.URL}, clockwork.NewFakeClock()), "metrics", wanted{Failure, "404", "--goldmane-metrics"})
	gone := examineGoldmane(t, &Goldmane{Endpoint: "127.0.0.1:1", MetricsURL: "http://127.0.0.1:1"}, clockwork.NewFakeClock())
	requireCheck(t, gone, "metrics", wanted{Failure, "refused", "--goldmane-metrics"})
	require.Len(t, gone, 2)
}
