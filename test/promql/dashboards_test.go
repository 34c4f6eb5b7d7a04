package promql

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// panels are the PromQL queries of all dashboards, by dashboard/panel/query.
func panels(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../deploy/dashboards/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	fill := strings.NewReplacer("$__rate_interval", "5m")
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var dashboard struct {
			Panels []struct {
				Title      string
				Datasource struct{ Type string }
				Targets    []struct{ RefID, Expr string }
			}
		}
		require.NoError(t, json.Unmarshal(text, &dashboard))
		for _, p := range dashboard.Panels {
			for _, target := range p.Targets {
				if p.Datasource.Type == "prometheus" {
					all[strings.TrimSuffix(filepath.Base(file), ".json")+"/"+p.Title+"/"+target.RefID] = fill.Replace(target.Expr)
				}
			}
		}
	}
	return all
}

// Two collectors, with an hour of samples. Counters of which the tests ask grow by so
// many a minute that five minutes are five times that.
const wellAndUnwell = `
goldtrail_goldmane_cursor_age{instance="a"} 20x60
goldtrail_goldmane_cursor_age{instance="b"} 400x60
goldtrail_goldmane_ring_headroom{instance="a"} 3500x60
goldtrail_goldmane_ring_headroom{instance="b"} 800x60
goldtrail_goldmane_pairs_one_sided{instance="a"} 0.02x60
goldtrail_goldmane_pairs_one_sided{instance="b"} 0.3x60
goldtrail_goldmane_records_emitted{instance="a"} 0+6000x60
goldtrail_goldmane_records_emitted{instance="b"} 0+600x60
otelcol_exporter_sent_log_records{instance="a",exporter="otlp_http"} 0+3000x60
goldtrail_goldmane_records_rejected{instance="a"} 0+2x60
goldtrail_goldmane_flows_discarded{instance="a",reason="no_key"} 0+1x60
goldtrail_goldmane_windows{instance="a",status="complete"} 0+4x60
goldtrail_goldmane_windows{instance="a",status="partial"} 0+3x60
goldtrail_goldmane_windows{instance="b",status="missing"} 0+7x60
goldtrail_edges_records_lost{instance="a",kind="rollup"} 0+4x60
otelcol_exporter_send_failed_log_records{instance="a",exporter="otlp_http"} 0+5x60
goldtrail_goldmane_list_failures{instance="a",cause="tls"} 0+6x60
goldtrail_goldmane_list_failures{instance="a",cause="timeout"} 0+2x60
goldtrail_goldmane_restarts{instance="a"} 0+1x60
otelcol_receiver_refused_log_records{instance="a",receiver="goldmane"} 0+9x60
goldtrail_edges_refusals{instance="a"} 0+8x60
goldtrail_edges_storage_failures{instance="a"} 0+10x60
goldtrail_svcid_kubernetes_failures{instance="a",resource="pods"} 0+11x60
otelcol_exporter_queue_size{instance="a",exporter="otlp_http"} 250x60
otelcol_exporter_queue_capacity{instance="a",exporter="otlp_http"} 1000x60
goldtrail_svcid_endpoints{instance="a",basis="namespace",side="source"} 0+90x60
goldtrail_svcid_endpoints{instance="a",basis="unlabelled",reason="missing",side="source"} 0+6x60
goldtrail_svcid_endpoints{instance="a",basis="unlabelled",reason="mixed",side="source"} 0+4x60
goldtrail_edges_known{instance="a"} 700x60
goldtrail_edges_known{instance="b"} 50x60
goldtrail_edges_overflowed{instance="a"} 0+12x60
goldtrail_goldmane_certificate_expiry{instance="a"} 90000x60
goldtrail_goldmane_certificate_expiry{instance="b"} 80000x60
`

// Every PromQL query of every dashboard says of known samples what they hold.
func TestDashboardsSayWhatTheSamplesHold(t *testing.T) {
	queries := panels(t)
	require.NotEmpty(t, queries)
	// After an hour. Grown in five minutes is 5 times what a counter grows in one.
	want := map[string]points{
		"health/Lag/A": {
			`{__name__="goldtrail_goldmane_cursor_age", instance="a"}`: 20,
			`{__name__="goldtrail_goldmane_cursor_age", instance="b"}`: 400,
		},
		"health/Until windows are lost/A": {
			`{__name__="goldtrail_goldmane_ring_headroom", instance="a"}`: 3500,
			`{__name__="goldtrail_goldmane_ring_headroom", instance="b"}`: 800,
		},
		"health/Records a second/A":            {`{}`: 6600. / 60},
		"health/Records a second/B":            {`{}`: 3000. / 60},
		"health/Lost/A":                        {`{}`: 10},
		"health/Lost/B":                        {`{reason="no_key"}`: 5},
		"health/Lost/C":                        {`{status="partial"}`: 15, `{status="missing"}`: 35},
		"health/Lost/D":                        {`{kind="rollup"}`: 20},
		"health/Lost/E":                        {`{exporter="otlp_http"}`: 25},
		"health/In trouble/A":                  {`{cause="tls"}`: 30, `{cause="timeout"}`: 10},
		"health/In trouble/B":                  {`{}`: 5},
		"health/In trouble/C":                  {`{receiver="goldmane"}`: 45},
		"health/In trouble/D":                  {`{}`: 40},
		"health/In trouble/E":                  {`{}`: 50},
		"health/In trouble/F":                  {`{resource="pods"}`: 55},
		"health/Sending queue/A":               {`{exporter="otlp_http"}`: 0.25},
		"health/Ends that could not be told/A": {`{reason="missing"}`: 0.06, `{reason="mixed"}`: 0.04},
		"health/Edges/A":                       {`{}`: 750},
		"health/Edges/B":                       {`{}`: 60},
		"health/Client certificate/A":          {`{}`: 80000 - 3600},
		"health/Pairs that one end reported/A": {
			`{__name__="goldtrail_goldmane_pairs_one_sided", instance="a"}`: 0.02,
			`{__name__="goldtrail_goldmane_pairs_one_sided", instance="b"}`: 0.3,
		},
	}
	for name, query := range queries {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, want, name, "there is nothing to compare with")
			requirePoints(t, want[name], ask(t, wellAndUnwell, query, time.Hour), query)
		})
	}
	for name := range want {
		require.Contains(t, queries, name, "no panel's any more")
	}
}
