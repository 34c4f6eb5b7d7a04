package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func examineCollector(t *testing.T, health, metrics said, date time.Time) []Check {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := metrics
		if r.URL.Path == "/" {
			answer = health
			assert.True(t, r.URL.Query().Has("verbose"))
		}
		w.Header().Set("Date", date.Format(http.TimeFormat))
		w.WriteHeader(answer.status)
		_, err := fmt.Fprint(w, answer.body)
		assert.NoError(t, err)
	}))
	t.Cleanup(s.Close)
	of := &section{area: AreaCollector}
	c := &Collector{HealthURL: s.URL, MetricsURL: s.URL + "/metrics"}
	c.examine(t.Context(), clockwork.NewFakeClockAt(present), of)
	return of.checks
}

// What health_check of the built Collector says, with the feature gate and without it, and
// of metrics those that are looked at.
const (
	healthy   = `{"start_time":"2026-11-22T03:00:00Z","healthy":true,"status":"StatusOK","status_time":"2026-11-22T03:00:00Z","components":{"pipeline:logs":{"healthy":true,"status":"StatusOK","components":{"receiver:goldmane":{"healthy":true,"status":"StatusOK"}}}}}`
	noGate    = `{"status":"Server available","upSince":"2026-11-22T03:00:00Z","uptime":"1h"}`
	noGoldm   = `{"healthy":true,"status":"StatusRecoverableError","error":"no route","components":{"pipeline:logs":{"healthy":true,"status":"StatusRecoverableError","components":{"processor:svcid":{"healthy":true,"status":"StatusOK"},"receiver:goldmane":{"healthy":true,"status":"StatusRecoverableError","error":"no route","status_time":"2026-11-22T03:30:00Z"}}}}}`
	permanent = `{"healthy":false,"status":"StatusPermanentError","components":{"pipeline:logs":{"status":"StatusPermanentError","components":{"exporter:otlp_http":{"status":"StatusPermanentError","error":"never"}}}}}`
	counted   = `# TYPE goldtrail_goldmane_ring_headroom gauge
goldtrail_goldmane_ring_headroom 3500.5
# TYPE goldtrail_goldmane_cursor_age gauge
goldtrail_goldmane_cursor_age 24.3
# TYPE goldtrail_goldmane_windows counter
goldtrail_goldmane_windows{status="complete"} 214
# TYPE goldtrail_goldmane_certificate_expiry gauge
goldtrail_goldmane_certificate_expiry 1.8e+09
# TYPE otelcol_exporter_sent_log_records counter
otelcol_exporter_sent_log_records{exporter="otlp_http"} 12497
# TYPE otelcol_exporter_queue_capacity gauge
otelcol_exporter_queue_capacity{data_type="logs",exporter="otlp_http"} 1000
# TYPE otelcol_exporter_queue_size gauge
otelcol_exporter_queue_size{data_type="logs",exporter="otlp_http"} 10
`
)

func TestCollectorIsWell(t *testing.T) {
	t.Parallel()
	checks := examineCollector(t, said{http.StatusOK, healthy}, said{http.StatusOK, counted}, present)
	for name, detail := range map[string]string{
		"health": "all components are well", "clock": "within 1 s", "reading": "24 s behind, and 58 min before windows are lost",
		"rejected": "no record", "windows": "complete 214", "exporter": "otlp_http 12497; none failed", "queue": "10 of 1000, 1 %",
		"client certificate": "is good until 2027-01-15",
	} {
		requireCheck(t, checks, name, wanted{OK, detail, ""})
	}
	require.Len(t, checks, 8)

	s := &section{}
	(*Collector)(nil).examine(t.Context(), clockwork.NewFakeClock(), s)
	requireCheck(t, s.checks, "health", wanted{Skipped, "--collector ", ""})
	requireCheck(t, s.checks, "metrics", wanted{Skipped, "--collector-metrics ", ""})
}

func TestCollectorsHealth(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		health said
		want   wanted
	}{
		{"without the gate", said{http.StatusOK, noGate}, wanted{OK, "useComponentStatus", ""}},
		{"without Goldmane", said{http.StatusOK, noGoldm}, wanted{Warning, "receiver:goldmane RecoverableError since 2026-11-22T03:30:00Z: no route", "log"}},
		{"for good", said{http.StatusInternalServerError, permanent}, wanted{Failure, "exporter:otlp_http PermanentError", "log"}},
		{"starting", said{http.StatusServiceUnavailable, `{"status":"Server not available"}`}, wanted{Failure, "503", "log"}},
		{"something else", said{http.StatusOK, "<html>"}, wanted{Failure, "<html>", "health_check"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requireCheck(t, examineCollector(t, tt.health, said{http.StatusOK, counted}, present), "health", tt.want)
		})
	}
	late := examineCollector(t, said{http.StatusOK, healthy}, said{http.StatusOK, counted}, present.Add(-time.Minute))
	requireCheck(t, late, "clock", wanted{Warning, "the Collector's is 59 s behind", "NTP"})
	s := &section{}
	(&Collector{HealthURL: "http://127.0.0.1:1", MetricsURL: "http://127.0.0.1:1"}).examine(t.Context(), clockwork.NewFakeClock(), s)
	requireCheck(t, s.checks, "health", wanted{Failure, "refused", "health_check extension"})
	requireCheck(t, s.checks, "metrics", wanted{Failure, "refused", "METRICS_PORT"})
}

func TestCollectorsMetrics(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, metrics string
		check         string
		want          wanted
	}{
		{"with suffixes", "goldtrail_goldmane_ring_headroom_seconds 60\n", "reading", wanted{Failure, "60 s before windows are lost", "exporter"}},
		{"little headroom", "goldtrail_goldmane_ring_headroom 600\n", "reading", wanted{Warning, "10 min before", "catches up"}},
		{"behind", "goldtrail_goldmane_ring_headroom 3000\ngoldtrail_goldmane_cursor_age 300\n", "reading", wanted{Warning, "5 min behind", "'flush_interval' of 300s"}},
		{"has failed", counted + "goldtrail_goldmane_list_failures{cause=\"tls\"} 3\n", "reading", wanted{OK, "since it started: tls 3", ""}},
		{"rejected", counted + "goldtrail_goldmane_records_rejected_total 7\n", "rejected", wanted{Failure, "7 records", "log"}},
		{"lost windows", counted + "goldtrail_goldmane_windows{status=\"missing\"} 4\n", "windows", wanted{Warning, "missing 4", "goldtrail coverage"}},
		{"none settled", "goldtrail_goldmane_ring_headroom 3500\n", "windows", wanted{OK, "six and a half minutes", ""}},
		{"dropped", counted + "otelcol_exporter_send_failed_log_records{exporter=\"otlp_http\"} 5\n", "exporter", wanted{Failure, "otlp_http 5", "Loki"}},
		{"queue was full", counted + "otelcol_exporter_enqueue_failed_log_records{exporter=\"otlp_http\"} 5\n", "exporter", wanted{Warning, "queue full", "nothing is lost"}},
		{"queue half full", counted[:len(counted)-len(" 10\n")] + " 600\n", "queue", wanted{Warning, "60 %", "Loki"}},
		{"queue full", counted[:len(counted)-len(" 10\n")] + " 990\n", "queue", wanted{Failure, "99 %", "Loki"}},
		{"certificate ends", "goldtrail_goldmane_ring_headroom 3500\ngoldtrail_goldmane_certificate_expiry 1795406400\n", "client certificate", wanted{Warning, "ends at", "renew"}},
		{"certificate has ended", "goldtrail_goldmane_ring_headroom 3500\ngoldtrail_goldmane_certificate_expiry 1795000000\n", "client certificate", wanted{Failure, "ended at", "renew"}},
		{"another port", "up 1\n", "metrics", wanted{Warning, "none of the receiver", "8888"}},
		{"something else", "<html>\n", "metrics", wanted{Failure, "serves no metrics", "--collector-metrics"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requireCheck(t, examineCollector(t, said{http.StatusOK, healthy}, said{http.StatusOK, tt.metrics}, present), tt.check, tt.want)
		})
	}
	gone := examineCollector(t, said{http.StatusOK, healthy}, said{http.StatusNotFound, ""}, present)
	requireCheck(t, gone, "metrics", wanted{Failure, "404", "--collector-metrics"})
}

// The metrics that are looked at are those that the receiver documents.
func TestMetricsAreThoseOfTheReceiver(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("metrics.go")
	require.NoError(t, err)
	page, err := os.ReadFile("../../receiver/goldmanereceiver/documentation.md")
	require.NoError(t, err)
	names := regexp.MustCompile(`goldtrail_goldmane_\w+`).FindAllString(string(source), -1)
	require.GreaterOrEqual(t, len(names), 6)
	for _, name := range names {
		require.Contains(t, string(page), "\n### "+name+"\n")
	}
}
