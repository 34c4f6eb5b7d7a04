package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/doctor"
)

// What it says is tested by the script, and that all is well by test/e2e.
func TestDoctorsExitCodes(t *testing.T) {
	t.Parallel()
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		want int
		ctx  context.Context //nolint:containedctx // the run's
		args []string
	}{
		{exitLoki, context.Background(), []string{"--addr", "http://127.0.0.1:1"}},
		{exitStopped, stopped, []string{"--addr", "http://127.0.0.1:1"}},
		{exitUsage, context.Background(), []string{"--file", "trail.jsonl"}},
		{exitUsage, context.Background(), []string{"--goldmane-metrics", "localhost:9081"}},
	} {
		var out, errs bytes.Buffer
		e := &environment{out: &out, err: &errs, getenv: func(string) string { return "" }, clock: clockwork.NewFakeClock(), zone: time.UTC}
		assert.Equal(t, tt.want, run(tt.ctx, e, append([]string{"doctor"}, tt.args...)), "%v: %s%s", tt.args, &out, &errs)
	}
}

// Goldmane's metrics are looked at without a Goldmane to ask.
func TestDoctorReadsGoldmanesMetrics(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, "goldmane_aggr_received_flows_total 7\ngoldmane_collector_num_clients 5\n")
		assert.NoError(t, err)
	}))
	t.Cleanup(web.Close)
	var out, errs bytes.Buffer
	e := &environment{out: &out, err: &errs, getenv: func(string) string { return "" }, clock: clockwork.NewFakeClock(), zone: time.UTC}
	run(context.Background(), e, []string{"doctor", "--addr", "http://127.0.0.1:1", "--goldmane-metrics", web.URL})
	require.Contains(t, out.String(), "5 connected")
	require.Contains(t, out.String(), "none of 7 since it started")
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	report := func(failed int) *doctor.Report {
		return &doctor.Report{Checks: make([]doctor.Check, 20), Count: map[doctor.Status]int{doctor.Failure: failed, doctor.Warning: 3, doctor.Skipped: 2}}
	}
	require.NoError(t, verdict(report(0)))
	require.EqualError(t, verdict(report(1)), "1 of 20 checks failed; its remedy is above")
	require.EqualError(t, verdict(report(2)), "2 of 20 checks failed; the remedies are above")
}
