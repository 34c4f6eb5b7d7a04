//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/doctor"
	"github.com/goldtrail/goldtrail/test/stack"
)

// examination is a run of `goldtrail doctor`.
type examination struct {
	checks map[string]doctor.Check // by area and name
	code   int
	said   string
}

func examine(ctx context.Context, args ...string) (*examination, error) {
	cmd := exec.CommandContext(ctx, os.Getenv("GOLDTRAIL_BIN"), append([]string{"doctor", "--output", "json"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG=")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	e := &examination{checks: map[string]doctor.Check{}, code: cmd.ProcessState.ExitCode(), said: said.String()}
	var report doctor.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return nil, fmt.Errorf("%w: %s%s", err, &out, &said)
	}
	for _, c := range report.Checks {
		e.checks[c.Area+" "+c.Name] = c
	}
	return e, nil
}

// is returns an error where the checks are not as wanted, by area and name.
func (e *examination) is(want map[string]doctor.Status) error {
	var errs []error
	for name, status := range want {
		if c := e.checks[name]; c.Status != status {
			errs = append(errs, fmt.Errorf("%s is %q, not %q: %s", name, c.Status, status, c.Detail))
		}
	}
	return errors.Join(errs...)
}

// The shipped configuration for a cluster, as it runs: all is found well. Then it breaks,
// piece by piece, and the doctor says which.
func TestDoctor(t *testing.T) {
	s := newStack(t)
	ca := newAuthority(t)
	server := ca.issue(t, "goldmane", time.Now().Add(100*24*time.Hour))
	files := ca.issue(t, "goldtrail", time.Now().Add(100*24*time.Hour))
	addr, simulator, err := s.Simulator(t.Context(), stack.SimulatorOptions{History: 200, TLS: server})
	require.NoError(t, err)
	loki, _, err := s.OwnLoki(t.Context(), stack.LokiOptions{
		Dir:    t.TempDir(),
		Args:   []string{"-compactor.retention-enabled=true", "-compactor.delete-request-store=filesystem"},
		Limits: "  retention_stream:\n    - {selector: '{service_name=~\"goldmane-.*\"}', priority: 1, period: 2160h}\n",
	})
	require.NoError(t, err)
	cluster := newCluster()
	o := clusterOptions(t, addr, files, map[string]string{"K8S_CLUSTER_NAME": cluster, "LOKI_URL": loki})
	o.Set = []string{"receivers.goldmane.tls.server_name_override=goldmane.calico-system.svc"} // Goldmane's own windows
	collector, err := s.Collector(t.Context(), o)
	require.NoError(t, err)

	args := []string{
		"--addr", loki, "--goldmane", addr, "--goldmane-server-name", "goldmane.calico-system.svc",
		"--goldmane-ca", files.CA, "--goldmane-cert", files.Cert, "--goldmane-key", files.Key,
		"--collector", collector.HealthURL, "--collector-metrics", collector.MetricsURL,
	}
	well := map[string]doctor.Status{
		"goldmane reach": doctor.OK, "goldmane tls": doctor.OK, "goldmane server certificate": doctor.OK,
		"goldmane client certificate": doctor.OK, "goldmane flows": doctor.OK, "goldmane ring": doctor.OK, "goldmane clock": doctor.OK,
		"collector health": doctor.OK, "collector clock": doctor.OK, "collector reading": doctor.OK, "collector rejected": doctor.OK,
		"collector windows": doctor.OK, "collector exporter": doctor.OK, "collector queue": doctor.OK, "collector client certificate": doctor.OK,
		"goldmane metrics": doctor.Skipped, "kubernetes rights": doctor.Skipped,
		"loki reach": doctor.OK, "loki ready": doctor.OK, "loki version": doctor.OK, "loki clock": doctor.OK, "loki otlp": doctor.OK,
		"loki structured metadata": doctor.OK, "loki pushes": doctor.OK, "loki queries": doctor.OK, "loki retention": doctor.OK,
		"trail cluster": doctor.OK, "trail goldmane-coverage": doctor.OK, "trail goldmane-flows": doctor.OK, "trail last hour": doctor.OK,
	}
	requireSoon(t, func(ctx context.Context) error {
		e, err := examine(ctx, args...)
		if err != nil {
			return err
		}
		if err := e.is(well); err != nil || e.code != 0 {
			return errors.Join(err, fmt.Errorf("exit code %d: %s", e.code, e.said))
		}
		return nil
	})

	// Goldmane goes: it is not there, and the receiver says so.
	require.NoError(t, simulator.Stop())
	requireSoon(t, func(ctx context.Context) error {
		e, err := examine(ctx, args...)
		if err != nil {
			return err
		}
		if e.code != 1 || !strings.Contains(e.said, "checks failed") && !strings.Contains(e.said, "check failed") {
			return fmt.Errorf("exit code %d: %s", e.code, e.said)
		}
		if !strings.Contains(e.checks["collector health"].Detail, "receiver:goldmane RecoverableError") {
			return fmt.Errorf("health: %s", e.checks["collector health"].Detail)
		}
		return e.is(map[string]doctor.Status{"goldmane reach": doctor.Failure, "collector health": doctor.Warning, "loki otlp": doctor.OK})
	})

	// So does the Collector.
	require.NoError(t, collector.Stop())
	e, err := examine(t.Context(), args...)
	require.NoError(t, err)
	require.NoError(t, e.is(map[string]doctor.Status{"collector health": doctor.Failure, "collector metrics": doctor.Failure, "trail cluster": doctor.OK}))
	require.Equal(t, 1, e.code)
}

// A Loki that takes no structured metadata says so itself, to the probe.
func TestDoctorOfALokiThatRefuses(t *testing.T) {
	s := newStack(t)
	loki, _, err := s.OwnLoki(t.Context(), stack.LokiOptions{
		Dir: t.TempDir(), Args: []string{"-validation.allow-structured-metadata=false", "-auth.enabled=true"},
	})
	require.NoError(t, err)
	e, err := examine(t.Context(), "--addr", loki)
	require.NoError(t, err)
	assert.Equal(t, 3, e.code)
	require.NoError(t, e.is(map[string]doctor.Status{"loki reach": doctor.Failure}))
	require.Contains(t, e.checks["loki reach"].Remedy, "--org-id")

	e, err = examine(t.Context(), "--addr", loki, "--org-id", "team")
	require.NoError(t, err)
	assert.Equal(t, 1, e.code)
	require.NoError(t, e.is(map[string]doctor.Status{
		"loki reach": doctor.OK, "loki structured metadata": doctor.Failure, "loki retention": doctor.Warning,
		"trail goldmane-coverage": doctor.Failure,
	}))
}

// The rights that are shipped are enough, and what lacks is named; nothing is written, and
// no more than twelve requests are made.
func TestKubernetesDoctor(t *testing.T) {
	s := newStack(t)
	k := newKubeCluster(t, s)
	rights := func(ctx context.Context, want doctor.Status, args ...string) (doctor.Check, error) {
		e, err := examine(ctx, append([]string{"--addr", "http://127.0.0.1:1"}, args...)...)
		if err != nil {
			return doctor.Check{}, err
		}
		return e.checks["kubernetes rights"], e.is(map[string]doctor.Status{"kubernetes rights": want})
	}
	requireSoon(t, func(ctx context.Context) error { // an API that starts forbids until it has read the roles
		_, err := rights(ctx, doctor.OK, "--kubeconfig", k.kubeconfig)
		return err
	})
	requests, err := k.Audit(collectorUser)
	require.NoError(t, err)
	answered := 0
	for _, r := range requests {
		require.Contains(t, []string{"get", "list", "watch"}, r.Verb, r.URI)
		require.Contains(t, r.URI, "resourceVersion=0")
		if r.Stage == "ResponseComplete" {
			answered++
		}
	}
	require.Positive(t, answered)
	require.Zero(t, answered%12, "each run asks twelve times")

	// The administrator asks for the Collector.
	admin := filepath.Join(t.TempDir(), "admin")
	require.NoError(t, k.Kubeconfig(admin, k.Token))
	_, err = rights(t.Context(), doctor.OK, "--kubeconfig", admin, "--as", collectorUser)
	require.NoError(t, err)

	k.setRules(t, []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"namespaces", "pods"}, "verbs": []any{"get", "list"}}})
	requireSoon(t, func(ctx context.Context) error {
		c, err := rights(ctx, doctor.Failure, "--kubeconfig", k.kubeconfig)
		if err != nil {
			return err
		}
		const want = `{apiGroups: ["apps"], resources: [controllerrevisions], verbs: [get, list, watch]}, {apiGroups: [""], resources: [namespaces], verbs: [watch]}, ` +
			`{apiGroups: [""], resources: [pods], verbs: [watch]}, {apiGroups: ["apps"], resources: [replicasets], verbs: [get, list, watch]}`
		if !strings.Contains(c.Remedy, want) {
			return errors.New(c.Remedy)
		}
		return nil
	})
	_, err = rights(t.Context(), doctor.OK, "--kubeconfig", admin) // who may everything
	require.NoError(t, err)
	// A ServiceAccount may not ask for another.
	c, err := rights(t.Context(), doctor.Failure, "--kubeconfig", k.kubeconfig, "--as", "system:admin")
	require.NoError(t, err)
	require.Contains(t, c.Detail, "impersonate")
}
