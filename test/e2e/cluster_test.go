//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/test/stack"
)

// clusterOptions run examples/cluster.yaml against addr with the given certificate and
// with its storage in a folder of the test.
func clusterOptions(t *testing.T, addr string, files stack.TLSFiles, env map[string]string) stack.CollectorOptions {
	t.Helper()
	all := map[string]string{
		"GOLDMANE_ENDPOINT":  addr,
		"GOLDMANE_CERT_FILE": files.Cert,
		"GOLDMANE_KEY_FILE":  files.Key,
		"GOLDMANE_CA_FILE":   files.CA,
		"STORAGE_DIR":        t.TempDir(),
	}
	maps.Copy(all, env)
	return stack.CollectorOptions{
		Config: examples + "cluster.yaml",
		// The simulator's address is loopback, which Goldmane's certificate does not name.
		Set: append(slices.Clone(fastWindows), "receivers.goldmane.tls.server_name_override=goldmane.calico-system.svc"),
		Env: all,
	}
}

// Loki is away, the Collector is stopped, Goldmane is away when it comes back: what was
// in the sending queue still reaches Loki, over mutual TLS from one end.
func TestClusterConfigurationKeepsItsQueue(t *testing.T) {
	s := newStack(t)
	ca := newAuthority(t)
	addr, simulator, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window, History: 40, TLS: ca.issue(t, "goldmane", tomorrow())})
	require.NoError(t, err)

	nowhere, err := stack.FreePorts(1)
	require.NoError(t, err)
	cluster := newCluster()
	o := clusterOptions(t, addr, ca.issue(t, "goldtrail", tomorrow()), map[string]string{
		"K8S_CLUSTER_NAME": cluster, "LOKI_URL": fmt.Sprintf("http://127.0.0.1:%d", nowhere[0]),
	})
	collector, err := s.Collector(t.Context(), o)
	require.NoError(t, err)
	requireLogged(t, collector.Process, "Exporting failed. Will retry the request after interval.")
	requireSoon(t, func(ctx context.Context) error {
		n, err := collector.Metric(ctx, "goldtrail_goldmane_records_emitted")
		if err == nil && n == 0 {
			err = errors.New("no flows in the queue")
		}
		return err
	})
	require.NoError(t, collector.Healthy(t.Context()))
	require.NoError(t, collector.Stop())
	require.NoError(t, simulator.Stop())

	loki := startLoki(t, s)
	o.Env["LOKI_URL"] = loki.URL
	collector, err = s.Collector(t.Context(), o)
	require.NoError(t, err)
	requireFlows(t, loki, cluster)
	requireLogged(t, collector.Process, "Cannot read flows from Goldmane; will try again", "is Goldmane running")
}

// A Collector that has lost its place reads Goldmane's ring from the start again. What is
// in Loki twice then is told apart from what is there once: the records of a window
// stay as many as its flows make. (What was withheld at first, and is marked late, is decided
// at once then: it is twice there, but for the mark.)
func TestARepeatIsExact(t *testing.T) {
	s := newStack(t)
	loki := startLoki(t, s)
	ca := newAuthority(t)
	client := ca.issue(t, "goldtrail", tomorrow())
	addr, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window, History: 40, Calm: true, TLS: ca.issue(t, "goldmane", tomorrow())})
	require.NoError(t, err)
	served, err := stack.Dial(addr, client, "goldmane.calico-system.svc")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, served.Close()) })

	cluster := newCluster()
	begin := time.Now().Unix()
	for range 2 {
		o := clusterOptions(t, addr, client, map[string]string{"K8S_CLUSTER_NAME": cluster, "LOKI_URL": loki.URL})
		collector, err := s.Collector(t.Context(), o)
		require.NoError(t, err)
		// Windows are read in order: once one is there that settles only now, all are
		// there, from this Collector.
		newest := time.Now().Add(-settle).Unix() + 1
		requireWindow(t, served, loki, cluster, newest, true)
		for start := begin - 20; start < newest; start++ {
			requireWindow(t, served, loki, cluster, start, true)
		}
		require.NoError(t, collector.Stop())
	}
}

// A certificate that is not taken, on either side, is told in the log, with what mends
// it, and the Collector runs on.
func TestRefusedCertificates(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	goodServer, goodClient := ours.issue(t, "goldmane", tomorrow()), ours.issue(t, "goldtrail", tomorrow())

	otherCA := goodClient
	otherCA.CA = others.file
	for _, tt := range []struct {
		name           string
		server, client stack.TLSFiles
		want           []string
	}{
		{"Goldmane serves plaintext", stack.TLSFiles{}, goodClient, []string{"the server speaks plaintext: set 'tls::insecure' to true"}},
		{"Goldmane's certificate has expired", ours.issue(t, "old-goldmane", yesterday()), goodClient, []string{"Goldmane's certificate is out of date"}},
		{"Goldmane's certificate is another authority's", goodServer, otherCA, []string{"'tls::ca_file' does not hold the authority"}},
		{"our certificate has expired", goodServer, ours.issue(t, "old-goldtrail", yesterday()), []string{"our certificate has expired: renew 'tls::cert_file'"}},
		{"our certificate is another authority's", goodServer, stack.TLSFiles{
			Cert: others.issue(t, "stranger", tomorrow()).Cert, Key: others.dir + "/stranger.key", CA: ours.file,
		}, []string{"'tls::cert_file' must chain to Goldmane's authority"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStack(t)
			addr, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window, TLS: tt.server})
			require.NoError(t, err)
			o := clusterOptions(t, addr, tt.client, map[string]string{"LOKI_URL": "http://127.0.0.1:9"})
			collector, err := s.Collector(t.Context(), o)
			require.NoError(t, err)
			requireLogged(t, collector.Process, append(tt.want, "Cannot read flows from Goldmane; will try again")...)
			require.NoError(t, collector.Healthy(t.Context()))
		})
	}
}

// The Collector starts before Goldmane, runs on without it, and reads it once it is
// there.
func TestGoldmaneArrivesLater(t *testing.T) {
	s := newStack(t)
	loki := startLoki(t, s)
	port, err := stack.FreePorts(1)
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", port[0])
	cluster := newCluster()
	collector, err := s.Collector(t.Context(), stack.CollectorOptions{
		Config: examples + "local.yaml",
		Set:    fastWindows,
		Env:    map[string]string{"GOLDMANE_ENDPOINT": addr, "LOKI_URL": loki.URL, "K8S_CLUSTER_NAME": cluster},
	})
	require.NoError(t, err)
	requireLogged(t, collector.Process, "Cannot read flows from Goldmane; will try again", "is Goldmane running, and may this host reach 'endpoint' "+addr)
	require.NoError(t, collector.Healthy(t.Context()))
	requireStatus(t, collector, "StatusRecoverableError")

	_, _, err = s.Simulator(t.Context(), stack.SimulatorOptions{Listen: addr, Window: window, History: 20})
	require.NoError(t, err)
	requireLogged(t, collector.Process, "Reading flows from Goldmane again")
	requireStatus(t, collector, "StatusOK")
	requireFlows(t, loki, cluster)
}

// requireStatus waits until health_check tells that status of all components together.
func requireStatus(t *testing.T, collector *stack.Collector, want string) {
	t.Helper()
	requireSoon(t, statusIs(collector, want))
}

// statusIs is the condition that health_check tells that status.
func statusIs(collector *stack.Collector, want string) func(context.Context) error {
	return func(ctx context.Context) error {
		got, err := collector.Status(ctx)
		if err == nil && got != want {
			err = fmt.Errorf("health_check tells %s, not %s", got, want)
		}
		return err
	}
}
