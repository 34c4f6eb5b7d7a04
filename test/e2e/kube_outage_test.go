//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/test/stack"
)

// apiPatience bounds the waits for the Collector to notice what has become of the API.
// client-go's reflectors, which it reads with, wait up to a minute between two attempts.
const apiPatience = 2 * time.Minute

// lookUps is a Collector that looks up the simulated traffic's workloads, of which
// mysqlLegacy and nodeExporter are there.
type lookUps struct {
	*kubeCluster
	collector *stack.Collector
	sink      *workloadSink
	served    *stack.Goldmane
	begin     int64 // the first window that is the test's
	// known are the workloads that have an identity.
	known map[string]verdict
}

// newLookUps starts all of it but the Collector.
func newLookUps(t *testing.T, s *stack.Stack) (l *lookUps, goldmane string) {
	t.Helper()
	k := newKubeCluster(t, s)
	k.createPods(t, newPod("dbaas", "mysql-legacy", "mysql-legacy"), newPod("monitoring", "node-exporter", "node-exporter"))
	goldmane, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window, Seed: 1, History: -1})
	require.NoError(t, err)
	served, err := stack.Dial(goldmane, stack.TLSFiles{}, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, served.Close()) })
	return &lookUps{
		kubeCluster: k, sink: newWorkloadSink(t, multiServiceNamespaces...), served: served,
		known: map[string]verdict{
			mysqlLegacy:  {"dbaas/mysql-legacy", flowlog.BasisWorkload, ""},
			nodeExporter: {"monitoring/node-exporter", flowlog.BasisWorkload, ""},
		},
	}, goldmane
}

func (l *lookUps) start(t *testing.T, s *stack.Stack, goldmane string) {
	t.Helper()
	var err error
	l.collector, err = s.Collector(t.Context(), l.collectorOptions(goldmane, l.sink, "processors.svcid.multi_service_namespaces=[dbaas]"))
	require.NoError(t, err)
	l.begin = time.Now().Unix()
}

// The API is away when the Collector starts, then for a while, then it is back with
// another authority. Flows go on all the while, with what they say themselves and what
// is known already, and an excuse where that is not enough. When the API is back so are
// the identities, without a restart.
func TestKubernetesIsAway(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := newStack(t)
	l, goldmane := newLookUps(t, s)

	// Which namespaces the selector matches is not known without the API.
	require.NoError(t, l.Stop())
	l.start(t, s, goldmane)
	l.sink.requireVerdicts(t, l.begin, map[string]verdict{
		mysqlLegacy:  {"dbaas/?", flowlog.BasisUnlabelled, flowlog.ReasonAPIUnavailable},
		nodeExporter: {"monitoring", flowlog.BasisNamespace, flowlog.ReasonAPIUnavailable},
	})
	requireStatus(t, l.collector, "StatusRecoverableError")
	requireLogged(t, l.collector.Process, "The Kubernetes API cannot be read; it is tried again")
	require.NoError(t, l.Start(t.Context()))
	l.requireAnswers(t, snapshotController)

	require.NoError(t, l.Stop())
	l.requireExcuse(t, snapshotController)
	require.NoError(t, l.Start(t.Context()))
	l.requireAnswers(t, snapshotController)

	// The kubeconfig learns of the authority only later.
	require.NoError(t, l.Stop())
	require.NoError(t, l.ForgetCA())
	require.NoError(t, l.Start(t.Context()))
	l.connect(t)
	l.createPods(t, newPod("kube-system", snapshotReplicas, "snapshots"))
	l.requireExcuse(t, snapshotController)
	requireWithin(t, apiPatience, logged(l.collector.Process, "The Kubernetes API's certificate cannot be verified"))
	l.writeKubeconfig(t)
	l.known[snapshotController] = verdict{"kube-system/snapshots", flowlog.BasisWorkload, ""}
	l.requireAnswers(t, descheduler)

	l.requireNoPause(t)
}

// The rights are taken away from a running Collector. It says what to add, that is added
// and nothing else, and the identities are back.
func TestKubernetesForbids(t *testing.T) {
	t.Parallel() // most of it is waiting
	s := newStack(t)
	l, goldmane := newLookUps(t, s)
	l.start(t, s, goldmane)
	l.requireAnswers(t, snapshotController)

	// A watch that is open goes on without the rights; a restart ends it.
	l.setRules(t, nil)
	require.NoError(t, l.Stop())
	require.NoError(t, l.Start(t.Context()))
	l.createPods(t, newPod("kube-system", snapshotReplicas, "snapshots"))
	l.requireExcuse(t, snapshotController)
	l.setRules(t, l.requireRules(t))
	l.known[snapshotController] = verdict{"kube-system/snapshots", flowlog.BasisWorkload, ""}
	l.requireAnswers(t, descheduler)

	l.requireNoPause(t)
}

// requireAnswers waits until identities and status are as they are with the API: the
// known workloads have theirs, and a stranger is known not to be there.
func (l *lookUps) requireAnswers(t *testing.T, stranger string) {
	t.Helper()
	begin := time.Now()
	requireWithin(t, apiPatience, statusIs(l.collector, "StatusOK"))
	t.Logf("the status was good after %s", time.Since(begin).Round(time.Second))
	l.requireVerdicts(t, stranger, flowlog.ReasonUnknownWorkload)
}

// requireExcuse waits until a window has come that began while the API was away: the
// known workloads keep their identities, and of a stranger it is said that the API was
// away.
func (l *lookUps) requireExcuse(t *testing.T, stranger string) {
	t.Helper()
	l.requireVerdicts(t, stranger, flowlog.ReasonAPIUnavailable)
	requireStatus(t, l.collector, "StatusRecoverableError")
	require.NoError(t, l.collector.Healthy(t.Context()))
}

// requireVerdicts waits for a window from now on with the identities of the known
// workloads, and of a stranger in kube-system with a reason.
func (l *lookUps) requireVerdicts(t *testing.T, stranger, reason string) {
	t.Helper()
	want := maps.Clone(l.known)
	want[stranger] = verdict{"kube-system/?", flowlog.BasisUnlabelled, reason}
	l.sink.requireVerdicts(t, time.Now().Unix(), want)
}

// requireNoPause requires every record of every window since the Collector started.
func (l *lookUps) requireNoPause(t *testing.T) {
	t.Helper()
	end := time.Now().Unix()
	total := 0
	for start := l.begin; start < end; start++ {
		requireSoon(t, func(ctx context.Context) error {
			w, err := l.sink.window(start)
			if err != nil {
				return err
			}
			flows, err := l.served.Window(ctx, start, start+1)
			if err != nil {
				return err
			}
			if err := stack.CheckRecords(w.coverage, flows, true, w.records); err != nil {
				return fmt.Errorf("window %d: %w", start, err)
			}
			total += w.records
			return nil
		})
	}
	require.Positive(t, total)
	t.Logf("%d records in %d windows, as many as their coverage says", total, end-l.begin)
}

// requireRules waits for the line that tells which rules to add, and returns them.
func (l *lookUps) requireRules(t *testing.T) []any {
	t.Helper()
	const forbids = "The Kubernetes API forbids look-ups: add to the ClusterRole"
	requireWithin(t, apiPatience, logged(l.collector.Process, forbids))
	log, err := l.collector.Log()
	require.NoError(t, err)
	_, line, _ := strings.Cut(log, forbids)
	line, _, _ = strings.Cut(line, "\n")
	t.Log(forbids + line)
	var rules []any
	for _, text := range regexp.MustCompile(`\{apiGroups: [^}]*\}`).FindAllString(line, -1) {
		var rule map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(text), &rule), text)
		rules = append(rules, rule)
	}
	require.NotEmpty(t, rules)
	return rules
}
