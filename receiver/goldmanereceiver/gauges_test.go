package goldmanereceiver

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadatatest"
)

func gauge(v float64) []metricdata.DataPoint[float64] {
	return []metricdata.DataPoint[float64]{{Value: v}}
}

func TestGauges(t *testing.T) {
	r := newRig(t, nil, nil)
	r.push(windowStart-90, port(1))
	r.start(r.config())
	r.awaitRecords(1)
	r.advance(0)
	// It is one second into a window; the window of 30 s before is to be listed next, in 14 s.
	// The two before that have been listed, and wait for the windows within reach of them.
	metadatatest.AssertEqualGoldmaneCursorAge(t, r.telemetry, gauge(46), ignore)
	metadatatest.AssertEqualGoldmaneRingHeadroom(t, r.telemetry, gauge(59*60-31), ignore)

	size, err := r.telemetry.GetMetric("goldtrail_goldmane_list_size")
	require.NoError(t, err)
	sizes := size.Data.(metricdata.Histogram[int64]).DataPoints
	require.Len(t, sizes, 1)
	assert.Equal(t, uint64(ringWindows-2+1), sizes[0].Count, "every window, and the first contact")
	assert.Positive(t, sizes[0].Sum)
	took, err := r.telemetry.GetMetric("goldtrail_goldmane_list_duration")
	require.NoError(t, err)
	assert.Equal(t, sizes[0].Count, took.Data.(metricdata.Histogram[float64]).DataPoints[0].Count)
}

func TestCertificateExpiry(t *testing.T) {
	ours := newAuthority(t, "tigera-operator")
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	server, client := ours.sign("goldmane", goldmaneHost, end), ours.sign("collector", "collector", end)
	conf, err := sim.MutualTLS(server.cert, server.key, ours.file)
	require.NoError(t, err)
	r := newRig(t, conf, nil)
	r.push(windowStart-90, port(1))
	cfg := r.config()
	cfg.TLS.Insecure = false
	cfg.TLS.CAFile, cfg.TLS.CertFile, cfg.TLS.KeyFile, cfg.TLS.ServerName = ours.file, client.cert, client.key, goldmaneHost
	r.start(cfg)
	r.awaitRecords(1)
	metadatatest.AssertEqualGoldmaneCertificateExpiry(t, r.telemetry, gauge(float64(end.Unix())), ignore)

	ours.sign("collector", "collector", end.Add(time.Hour)) // renewed in place
	metadatatest.AssertEqualGoldmaneCertificateExpiry(t, r.telemetry, gauge(float64(end.Add(time.Hour).Unix())), ignore)
}

func TestCertificateEndRefuses(t *testing.T) {
	_, err := certificateEnd("/no/such/file")
	require.ErrorIs(t, err, os.ErrNotExist)
	empty := filepath.Join(t.TempDir(), "empty.crt")
	require.NoError(t, os.WriteFile(empty, []byte("not a certificate"), 0o600))
	_, err = certificateEnd(empty)
	require.ErrorIs(t, err, errNoCertificate)
}
