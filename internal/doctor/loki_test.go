package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

// present is the present of tests of Loki.
var present = time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)

// said is what a stand-in for Loki says at a path.
type said struct {
	status int
	body   string
}

// wellConfigured is a Loki that is set as docs/loki.md says, in the words of a real one.
const wellConfigured = `
auth_enabled: false
compactor:
  retention_enabled: true
limits_config:
  ingestion_rate_mb: 4
  ingestion_burst_size_mb: 6
  reject_old_samples: true
  reject_old_samples_max_age: 1w
  allow_structured_metadata: true
  max_structured_metadata_size: 64KB
  max_structured_metadata_entries_count: 128
  max_query_series: 500
  max_query_length: 30d1h
  max_query_lookback: 0s
  max_entries_limit_per_query: 5000
  split_queries_by_interval: 1h
  retention_period: 31d
  retention_stream:
  - period: 90d
    priority: 1
    selector: '{service_name=~"goldmane-.*"}'
`

// lokiSays is a Loki that is well, but for what is changed. Its trail is not: that is
// tested with a real one.
func lokiSays(changed map[string]said) map[string]said {
	all := map[string]said{
		"/ready":                        {http.StatusOK, "ready"},
		"/loki/api/v1/status/buildinfo": {http.StatusOK, `{"version":"3.7.8"}`},
		"/loki/api/v1/labels":           {http.StatusOK, `{"status":"success","data":[]}`},
		"/otlp/v1/logs":                 {http.StatusUnprocessableEntity, "error at least one valid stream is required for ingestion"},
		"/config":                       {http.StatusOK, wellConfigured},
		"/loki/api/v1/drilldown-limits": {http.StatusOK, `{"limits":{"max_query_series":500}}`},
		"/loki/api/v1/series":           {http.StatusOK, `{"status":"success","data":[]}`},
		"/loki/api/v1/query_range":      {http.StatusOK, `{"status":"success","data":{"resultType":"streams","result":[]}}`},
	}
	for path, s := range changed {
		all[path] = s
	}
	return all
}

// standIn serves what is said, and keeps Loki's clock at a time.
func standIn(t *testing.T, says map[string]said, date time.Time) *Loki {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/otlp/v1/logs" {
			assert.Equal(t, http.MethodPost, r.Method)
			assert.Zero(t, r.ContentLength, "a probe that writes something")
		} else {
			assert.Equal(t, http.MethodGet, r.Method)
		}
		answer, known := says[r.URL.Path]
		if !known {
			answer = said{http.StatusNotFound, "404 page not found"}
		}
		w.Header().Set("Date", date.Format(http.TimeFormat))
		w.WriteHeader(answer.status)
		_, err := fmt.Fprint(w, answer.body)
		assert.NoError(t, err)
	}))
	t.Cleanup(s.Close)
	return &Loki{Client: &trail.Client{URL: s.URL, HTTP: s.Client(), Patience: -1}}
}

func examineLoki(t *testing.T, l *Loki) ([]Check, error) {
	t.Helper()
	s := &section{area: AreaLoki}
	err := l.examine(t.Context(), clockwork.NewFakeClockAt(present), s)
	return s.checks, err
}

func TestLokiIsWell(t *testing.T) {
	t.Parallel()
	checks, err := examineLoki(t, standIn(t, lokiSays(nil), present))
	require.NoError(t, err)
	for name, detail := range map[string]string{
		"reach": "lets us read", "ready": "", "version": "3.7.8", "clock": "Loki's is within 1 s", "otlp": "takes logs",
		"structured metadata": "allowed, up to 128 attributes and 64KB", "pushes": "burst 6 MB; records up to 1w old",
		"queries": "max_query_length 30d1h", "retention": "goldmane-flows 90d",
	} {
		requireCheck(t, checks, name, wanted{OK, detail, ""})
	}
	requireCheck(t, checks, "goldmane-coverage", wanted{Failure, "there is no trail", "--collector"})
}

func TestLoki(t *testing.T) {
	t.Parallel()
	config := func(lines string) map[string]said {
		return map[string]said{"/config": {http.StatusOK, lines}}
	}
	for _, tt := range []struct {
		name    string
		changed map[string]said
		check   string
		want    wanted
	}{
		{"starting", map[string]said{"/ready": {http.StatusServiceUnavailable, "Ingester not ready: waiting for 15s"}}, "ready", wanted{Failure, "waiting for 15s", "wait a minute"}},
		{"behind a gateway", map[string]said{"/ready": {http.StatusNotFound, ""}}, "ready", wanted{Skipped, "404", ""}},
		{"tells no version", map[string]said{"/loki/api/v1/status/buildinfo": {http.StatusNotFound, ""}}, "version", wanted{Skipped, "404", ""}},
		{"is old", map[string]said{"/loki/api/v1/status/buildinfo": {http.StatusOK, `{"version":"2.9.8"}`}}, "version", wanted{Failure, "2.9.8", "upgrade"}},
		{"of their own", map[string]said{"/loki/api/v1/status/buildinfo": {http.StatusOK, `{"version":"main-1234"}`}}, "version", wanted{OK, "main-1234", ""}},
		{"no OTLP", map[string]said{"/otlp/v1/logs": {http.StatusNotFound, ""}}, "otlp", wanted{Failure, "404", "pass /otlp/v1/logs on"}},
		{"no writing", map[string]said{"/otlp/v1/logs": {http.StatusForbidden, "read only"}}, "otlp", wanted{Warning, "read only", "credentials"}},
		{"OTLP fails", map[string]said{"/otlp/v1/logs": {http.StatusBadRequest, "structured metadata is disallowed"}}, "otlp", wanted{Failure, "disallowed", "allow_structured_metadata"}},
		{"OTLP answers as it should", map[string]said{"/otlp/v1/logs": {http.StatusNoContent, ""}}, "otlp", wanted{OK, "", ""}},
		{"no structured metadata", config("limits_config: {allow_structured_metadata: false}"), "structured metadata", wanted{Failure, "not allowed", "schema v13"}},
		{"no structured metadata, in Loki's words", config("limits_config: {max_query_series: 500}"), "structured metadata", wanted{Failure, "not allowed", "schema v13"}},
		{"few attributes", config("limits_config: {allow_structured_metadata: true, max_structured_metadata_entries_count: 4}"), "structured metadata", wanted{Failure, "4 attributes", "8 or more"}},
		{"small burst", config("limits_config: {ingestion_burst_size_mb: 1}"), "pushes", wanted{Failure, "can never pass", "ingestion_burst_size_mb"}},
		{"nothing old", config("limits_config: {ingestion_burst_size_mb: 6, reject_old_samples: true, reject_old_samples_max_age: 30m}"), "pushes", wanted{Failure, "30m", "reject_old_samples_max_age"}},
		{"looks back a week", config("limits_config: {max_query_lookback: 1w}"), "queries", wanted{Warning, "1w", "max_query_lookback"}},
		{"deletes nothing", config("limits_config: {retention_period: 0s}"), "retention", wanted{Warning, "nothing is ever deleted", "docs/loki.md"}},
		{"deletes after a month", config("limits_config: {retention_period: 31d}\ncompactor: {retention_enabled: true}"), "retention", wanted{Warning, "goldmane-flows 31d", "docs/loki.md"}},
		{"deletes flows only", config(`{limits_config: {retention_period: 0s, retention_stream: [{selector: '{service_name="goldmane-flows"}', priority: 1, period: 7d}]}, compactor: {retention_enabled: true}}`), "retention", wanted{Warning, "less than 90 days: goldmane-flows 1w", "docs/loki.md"}},
		{"the higher priority counts", config(`{limits_config: {retention_period: 0s, retention_stream: [{selector: '{service_name=~"goldmane-.*"}', priority: 1, period: 7d}, {selector: '{service_name=~".+"}', priority: 2, period: 400d}]}, compactor: {retention_enabled: true}}`), "retention", wanted{OK, "goldmane-edges 400d", ""}},
		{"odd selector", config(`{limits_config: {retention_period: 0s, retention_stream: [{selector: 'what', priority: 1, period: 7d}]}, compactor: {retention_enabled: true}}`), "retention", wanted{Skipped, "cannot be read", ""}},
		{"hides its configuration", map[string]said{"/config": {http.StatusForbidden, "no"}}, "structured metadata", wanted{Skipped, "/config answers 403 Forbidden: no", ""}},
		{"hides its configuration", map[string]said{"/config": {http.StatusForbidden, "no"}}, "retention", wanted{Skipped, "403", ""}},
		{"tells a tenant's retention", map[string]said{"/config": {http.StatusForbidden, "no"}, "/loki/api/v1/drilldown-limits": {http.StatusOK, `{"limits":{"retention_period":"31d"}}`}}, "retention", wanted{Warning, "31d, unless", "docs/loki.md"}},
		{"the tenant's come first", map[string]said{"/loki/api/v1/drilldown-limits": {http.StatusOK, `{"limits":{"max_query_series":7000}}`}}, "queries", wanted{OK, "max_query_series 7000", ""}},
		{"not a configuration", config("<html>"), "pushes", wanted{Skipped, "no configuration of Loki", ""}},
		{"two clusters", map[string]said{"/loki/api/v1/series": {http.StatusOK, `{"status":"success","data":[{"k8s_cluster_name":"east"},{"k8s_cluster_name":"west"}]}`}}, "cluster", wanted{Failure, "east, west", "--cluster"}},
		{"series fail", map[string]said{"/loki/api/v1/series": {http.StatusInternalServerError, "oh"}}, "cluster", wanted{Failure, "oh", "log"}},
		{"queries fail", map[string]said{"/loki/api/v1/query_range": {http.StatusInternalServerError, "oh"}}, "goldmane-flows", wanted{Failure, "oh", "log"}},
		{"the trail is an hour old", newestAt(present.Add(-time.Hour)), "goldmane-coverage", wanted{Failure, "60 min ago: the Collector has stopped", "--collector"}},
		{"the trail is five minutes old", newestAt(present.Add(-5 * time.Minute)), "goldmane-coverage", wanted{Warning, "5 min ago", "a 'flush_interval' of 300s"}},
		{"the trail is three hours old", newestAt(present.Add(-3 * time.Hour)), "goldmane-edges", wanted{Warning, "3 h ago", "--collector"}},
		{"the trail is of another version", newestIs(present.Add(-30*time.Second), "v1 allow web/a-* -> payments/b-* 80/tcp both 1/1 3/180 0/0 k3F"), "goldmane-flows", wanted{Failure, `not of version v2 of the trail's format, which this command reads: "v1 allow web/`, "upgrade the older one"}},
		{"the last hour is of another version", with(newestIs(present.Add(-3*time.Minute), "v1 window"), "/loki/api/v1/series", `{"status":"success","data":[{"k8s_cluster_name":"east"}]}`), "last hour", wanted{Warning, "(other_version)", "upgrade the older one"}},
		{"the trail is new", newestAt(present.Add(-30 * time.Second)), "goldmane-flows", wanted{OK, "30 s old", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checks, err := examineLoki(t, standIn(t, lokiSays(tt.changed), present))
			require.NoError(t, err)
			requireCheck(t, checks, tt.check, tt.want)
		})
	}
}

// newestAt is a Loki whose newest record, of whatever stream, is of a time.
func newestAt(at time.Time) map[string]said { return newestIs(at, flowlog.Version+" x") }

// newestIs is one whose newest record has a line, too.
func newestIs(at time.Time, line string) map[string]said {
	return map[string]said{"/loki/api/v1/query_range": {http.StatusOK, fmt.Sprintf(
		`{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{},"values":[["%d",%q,{}]]}]}}`, at.UnixNano(), line)}}
}

// with is what a Loki says besides.
func with(says map[string]said, path, body string) map[string]said {
	says[path] = said{http.StatusOK, body}
	return says
}

func TestLokiCannotBeAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		remedy string
	}{
		{http.StatusUnauthorized, "--org-id"},
		{http.StatusForbidden, "another tenant"},
		{http.StatusNotFound, "the base of a Loki"},
		{http.StatusTooManyRequests, "ask later"},
		{http.StatusInternalServerError, "log"},
	} {
		checks, err := examineLoki(t, standIn(t, lokiSays(map[string]said{"/loki/api/v1/labels": {tt.status, "because"}}), present))
		requireCheck(t, checks, "reach", wanted{Failure, "because", tt.remedy})
		require.Len(t, checks, 1)
		var refused *trail.StatusError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, trail.StatusError{Status: tt.status, Body: "because"}, *refused)
	}
	checks, err := examineLoki(t, &Loki{Client: &trail.Client{URL: "http://127.0.0.1:1"}})
	requireCheck(t, checks, "reach", wanted{Failure, "refused", "LOKI_ADDR"})
	var unreachable *trail.UnreachableError
	require.ErrorAs(t, err, &unreachable)
}

func TestLokisClock(t *testing.T) {
	t.Parallel()
	for offset, want := range map[time.Duration]wanted{
		-10 * time.Second: {OK, "within 10 s", ""},
		-time.Minute:      {Warning, "59 s behind", "NTP"},
		time.Minute:       {Warning, "60 s ahead", "NTP"},
	} {
		checks, err := examineLoki(t, standIn(t, lokiSays(nil), present.Add(offset)))
		require.NoError(t, err)
		requireCheck(t, checks, "clock", want)
	}
}

func TestSelectorMatches(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"service_name": "goldmane-flows", "k8s_cluster_name": "east"}
	for selector, want := range map[string]bool{
		`{}`:                              true,
		`{service_name="goldmane-flows"}`: true,
		`{service_name="goldmane"}`:       false,
		`{service_name=~"goldmane"}`:      false, // anchored
		`{service_name=~"goldmane-.*", k8s_cluster_name!="west"}`:    true,
		`{service_name=~"goldmane-.*", k8s_cluster_name!~"e.*" }`:    false,
		"{ service_name=~`goldmane-(flows|edges)` , namespace=\"\"}": true,
		`{service_name=~"a,b|goldmane.flows"}`:                       true,
	} {
		is, err := selectorMatches(selector, labels)
		require.NoError(t, err, selector)
		require.Equal(t, want, is, selector)
	}
	for _, selector := range []string{``, `{a}`, `{a="b"`, `{a=~"("}`, `{a="b" c="d"}`} {
		_, err := selectorMatches(selector, labels)
		require.Error(t, err, selector)
	}
}
