package svcidprocessor

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/processor/svcidprocessor/internal/metadatatest"
)

// writeKubeconfig writes one that trusts ca, and names it in $KUBECONFIG.
func writeKubeconfig(t *testing.T, server string, ca []byte) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("KUBECONFIG", filepath.Join(dir, "config"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config"), fmt.Appendf(nil, `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: ca.crt}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: staging, context: {cluster: c, user: u}}]
`, server), 0o600))
}

func authorityOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// strangeAuthority has signed nothing that is used here.
var strangeAuthority = []byte(`-----BEGIN CERTIFICATE-----
MIIBezCCASGgAwIBAgIUPbVatTCYbLRd+V/jxQMUofejlGIwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHc3RyYW5nZTAgFw0yNjExMjIwMzQxMzJaGA8yMTI2MTAyOTAz
NDEzMlowEjEQMA4GA1UEAwwHc3RyYW5nZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABMlCFAKQI1lc0T7izkthH8KPNSGj01Tm50p3xDkaG+oA9S6wLxS6KHspCjKV
PSM5j/kglp2VncUjC/6edx4xXDajUzBRMB0GA1UdDgQWBBQR3hRvQKSzqsubj4hg
H3Y6+9YgzjAfBgNVHSMEGDAWgBQR3hRvQKSzqsubj4hgH3Y6+9YgzjAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDbTYxsBid4jVA0BIjjzh1YiKPX
DEGH54jMz+/5O4DWSwIgXNNLLufCrho5u6PfUu/BSylD/wg4h46HDIYyfEWSqxA=
-----END CERTIFICATE-----
`)

// tlsServer answers every request with an empty list.
func tlsServer(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "Bearer secret", r.Header.Get("Authorization"))
		assert.Equal(t, "test/1 svcid", r.Header.Get("User-Agent"))
		assert.Equal(t, "0", r.URL.Query().Get("resourceVersion"), "served from the watch cache")
		assert.Empty(t, r.URL.Query().Get("limit"), "a limit would make it read etcd")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"items":[]}`)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // what clients refuse
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// A certificate authority that is rotated while we run is read again.
func TestAuthorityIsReadAgain(t *testing.T) {
	server := tlsServer(t)
	writeKubeconfig(t, server.URL, strangeAuthority)
	a, err := newAPI(&KubernetesConfig{AuthType: AuthKubeConfig, Context: "staging"}, "test/1 svcid")
	require.NoError(t, err)
	t.Cleanup(a.close)
	r := newContactRig(t)
	l := &listWatch{api: a, resource: podResource, namespace: "monitoring", contact: r.contact}

	_, err = l.list(t.Context(), metav1.ListOptions{Limit: 500})
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	assert.Contains(t, r.said()[0], "The Kubernetes API's certificate cannot be verified")

	writeKubeconfig(t, server.URL, authorityOf(server))
	_, err = l.list(t.Context(), metav1.ListOptions{Limit: 500})
	require.ErrorContains(t, err, "unknown authority", "this one has found out; the next has the new authority")
	list, err := l.list(t.Context(), metav1.ListOptions{Limit: 500})
	require.NoError(t, err)
	assert.Equal(t, "7", list.(*metav1.PartialObjectMetadataList).ResourceVersion)

	require.NoError(t, os.Remove(os.Getenv("KUBECONFIG")))
	server.Close()
	_, err = l.list(t.Context(), metav1.ListOptions{})
	require.ErrorContains(t, err, "'kubernetes::auth_type' is kubeConfig: needs the file that $KUBECONFIG names")
}

func TestNoWayToTheAPI(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for auth, want := range map[AuthType]string{
		AuthServiceAccount: "'kubernetes::auth_type' is serviceAccount: needs to run in a Pod with automountServiceAccountToken: true; elsewhere use kubeConfig: ",
		AuthKubeConfig:     "'kubernetes::auth_type' is kubeConfig: needs the file that $KUBECONFIG names, or ~/.kube/config, with the context that 'kubernetes::context' names: ",
		AuthNone:           "'kubernetes::auth_type' is none: needs KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT in the environment; set them to where the API is served in plain HTTP",
	} {
		cfg := testConfig()
		cfg.Kubernetes = configoptional.Some(KubernetesConfig{AuthType: auth, ForgetAfter: minForgetAfter})
		telemetry := componenttest.NewTelemetry()
		p, err := NewFactory().CreateLogs(t.Context(), metadatatest.NewSettings(telemetry), cfg, new(consumertest.LogsSink))
		require.NoError(t, err)
		require.ErrorContains(t, p.Start(t.Context(), componenttest.NewNopHost()), want)
		require.NoError(t, p.Shutdown(t.Context()))
		require.NoError(t, telemetry.Shutdown(t.Context()))
	}
}

func TestPlainHTTP(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "8001")
	cfg, err := restConfig(&KubernetesConfig{AuthType: AuthNone}, "")
	require.NoError(t, err)
	assert.Equal(t, "http://192.0.2.1:8001", cfg.Host)
}

// The pipeline goes on without the API, says so on the records, and ends at once.
func TestStartsWithoutTheAPI(t *testing.T) {
	server := tlsServer(t)
	writeKubeconfig(t, server.URL, authorityOf(server))
	server.Close() // nobody listens any more
	cfg := testConfig()
	cfg.Kubernetes = configoptional.Some(KubernetesConfig{AuthType: AuthKubeConfig, Context: "staging", ForgetAfter: minForgetAfter})
	sink := new(consumertest.LogsSink)
	telemetry := componenttest.NewTelemetry()
	p, err := NewFactory().CreateLogs(t.Context(), metadatatest.NewSettings(telemetry), cfg, sink)
	require.NoError(t, err)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	record := newRecord(t, raw{
		flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring", flowlog.SourceName: "grafana-*",
		flowlog.DestinationType: "workload", flowlog.DestinationNamespace: "monitoring", flowlog.DestinationLabels: raw{serviceIdentity: "tempo"},
	})
	require.NoError(t, p.ConsumeLogs(t.Context(), newBatch(record)))
	got := recordsOf(sink.AllLogs()[0]).At(0).Attributes().AsRaw()
	assert.Equal(t, "monitoring/?", got[flowlog.SourceIdentity])
	assert.Equal(t, "api_unavailable", got[flowlog.SourceIdentityReason])
	assert.Equal(t, "monitoring/tempo", got[flowlog.DestinationIdentity], "from the flow")
	metadatatest.AssertEqualSvcidKubernetesPods(t, telemetry, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())
	require.NoError(t, p.Shutdown(context.WithoutCancel(t.Context())))
	require.NoError(t, p.Shutdown(context.WithoutCancel(t.Context())), "twice is harmless")
	require.NoError(t, telemetry.Shutdown(t.Context()))
}
