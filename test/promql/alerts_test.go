package promql

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// alerts are the rules, as Prometheus's own parser reads them: unknown keys, queries that
// do not parse and templates that do not are errors.
func alerts(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile("../../deploy/alerts/prometheus-rules.yaml", false, model.UTF8Validation, expressions, slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	all := map[string]rulefmt.Rule{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			require.NotContains(t, all, rule.Alert)
			all[rule.Alert] = rule
		}
	}
	require.NotEmpty(t, all)
	return all
}

// Every alert fires on samples of what it warns of, and not on those of all being well.
// Samples are a minute apart, and asked for two hours after the first. Counters that have
// counted nothing are not there.
func TestAlertsFire(t *testing.T) {
	rules := alerts(t)
	tests := map[string]struct {
		fires string
		want  points
		quiet string
	}{
		"GoldtrailNewEdge": {
			`goldtrail_edges_records_emitted{instance="a",kind="first_seen"} _x114 3x6
			 goldtrail_edges_records_emitted{instance="b",kind="first_seen"} 5x114 7x6`,
			points{`{instance="a"}`: 3, `{instance="b"}`: 20. / 9}, // increase() reaches out to the ends of its range
			`goldtrail_edges_records_emitted{instance="a",kind="first_seen"} 5x121
			 goldtrail_edges_records_emitted{instance="a",kind="rollup"} 0+100x121`,
		},
		"GoldtrailDeniedBurst": {
			`calico_edge_denies_total{source_service_identity="x",destination_service_identity="y",destination_port="1"} _x114 15x6
			 calico_edge_denies_total{source_service_identity="x",destination_service_identity="y",destination_port="2"} _x114 10x6`,
			points{`{destination_service_identity="y", source_service_identity="x"}`: 25},
			`calico_edge_denies_total{source_service_identity="x",destination_service_identity="y",destination_port="1"} 0+1x121`,
		},
		"GoldtrailGap": {
			`goldtrail_goldmane_windows{instance="a",status="missing"} _x100 13x20`,
			points{`{instance="a"}`: 13},
			`goldtrail_goldmane_windows{instance="a",status="missing"} 13x121
			 goldtrail_goldmane_windows{instance="a",status="complete"} 0+4x121`,
		},
		"GoldtrailTrailStale": {
			`goldtrail_goldmane_cursor_age{instance="a"} 0+10x121`,
			points{`{__name__="goldtrail_goldmane_cursor_age", instance="a"}`: 1200},
			`goldtrail_goldmane_cursor_age{instance="a"} 30x121`,
		},
		"GoldtrailWindowsAboutToBeLost": {
			`goldtrail_goldmane_ring_headroom{instance="a"} 3600-25x121`,
			points{`{__name__="goldtrail_goldmane_ring_headroom", instance="a"}`: 600},
			`goldtrail_goldmane_ring_headroom{instance="a"} 3500x121`,
		},
		"GoldtrailNodesSilent": {
			`goldtrail_goldmane_pairs_one_sided{instance="a"} 0.02x59 0.3x62`,
			points{`{instance="a"}`: 0.3},
			`goldtrail_goldmane_pairs_one_sided{instance="a"} 0.02x100 0.3x5 0.02x16`, // single windows do not matter
		},
		"GoldtrailCollectorGone": {
			`goldtrail_goldmane_cursor_age{instance="a"} 30x60`,
			points{`{}`: 1},
			`goldtrail_goldmane_cursor_age{instance="a"} 30x121`,
		},
		"GoldtrailUnattributed": {
			`goldtrail_svcid_endpoints{instance="a",basis="namespace"} 0+90x121
			 goldtrail_svcid_endpoints{instance="a",basis="unlabelled",reason="missing"} 0+10x121`,
			points{`{instance="a"}`: 0.1},
			`goldtrail_svcid_endpoints{instance="a",basis="namespace"} 0+96x121
			 goldtrail_svcid_endpoints{instance="a",basis="unlabelled",reason="missing"} 0+4x121`,
		},
		"GoldtrailRecordsRejected": {
			`goldtrail_goldmane_records_rejected{instance="a"} _x100 40x20`,
			points{`{instance="a"}`: 40},
			`goldtrail_goldmane_records_rejected{instance="a"} 40x121`,
		},
		"GoldtrailEdgeRecordsLost": {
			`goldtrail_edges_records_lost{instance="a",kind="rollup"} _x100 40x20
			 goldtrail_edges_records_lost{instance="a",kind="daily"} _x100 2x20`,
			points{`{instance="a"}`: 42},
			`goldtrail_edges_records_lost{instance="a",kind="rollup"} 40x121`,
		},
		"GoldtrailExporterFails": {
			`otelcol_exporter_send_failed_log_records{instance="a",exporter="otlp_http"} _x100 40x20`,
			points{`{exporter="otlp_http", instance="a"}`: 40},
			`otelcol_exporter_send_failed_log_records{instance="a",exporter="otlp_http"} 40x121`,
		},
		"GoldtrailExporterQueueFills": {
			`otelcol_exporter_queue_size{instance="a",exporter="otlp_http",data_type="logs"} 600x121
			 otelcol_exporter_queue_capacity{instance="a",exporter="otlp_http",data_type="logs"} 1000x121`,
			points{`{data_type="logs", exporter="otlp_http", instance="a"}`: 0.6},
			`otelcol_exporter_queue_size{instance="a",exporter="otlp_http",data_type="logs"} 500x121
			 otelcol_exporter_queue_capacity{instance="a",exporter="otlp_http",data_type="logs"} 1000x121`,
		},
		"GoldtrailStorageFails": {
			`goldtrail_edges_storage_failures{instance="a"} _x100 4x20`,
			points{`{instance="a"}`: 4},
			`goldtrail_edges_storage_failures{instance="a"} 4x121`,
		},
		"GoldtrailCertificateExpires": {
			`goldtrail_goldmane_certificate_expiry{instance="a"} 100000x121`,
			points{`{instance="a"}`: 100000 - 7200},
			`goldtrail_goldmane_certificate_expiry{instance="a"} 1000000x121`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, rules, name)
			expr := rules[name].Expr
			requirePoints(t, tt.want, ask(t, tt.fires, expr, 2*time.Hour), expr)
			assert.Empty(t, ask(t, tt.quiet, expr, 2*time.Hour), expr)
		})
	}
	for name := range rules {
		assert.Contains(t, tests, name, "an alert that is not tested")
	}
}
