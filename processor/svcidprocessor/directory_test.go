package svcidprocessor

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/labelglob"
	"github.com/goldtrail/goldtrail/processor/svcidprocessor/internal/metadatatest"
)

// kubernetesConfig is testConfig with look-ups.
func kubernetesConfig() *Config {
	cfg := testConfig()
	cfg.Kubernetes = configoptional.Some(KubernetesConfig{AuthType: AuthServiceAccount, ForgetAfter: 10 * time.Minute})
	return cfg
}

func stamperOf(t testing.TB, rules *rules) *stamper {
	t.Helper()
	keep, err := labelglob.Compile(nil)
	require.NoError(t, err)
	return &stamper{rules: rules, keep: keep.Filter()}
}

// lookups is a directory of which namespace monitoring is fed by hand.
type lookups struct {
	*directory
	clock                      *clockwork.FakeClock
	rules                      *rules
	pods, replicaSets, history *feed
}

func newLookups(t testing.TB) *lookups {
	t.Helper()
	cfg, clock := kubernetesConfig(), clockwork.NewFakeClock()
	d := newDirectory(cfg, clock)
	ns := d.namespaces["monitoring"]
	return &lookups{
		directory: d, clock: clock, rules: newRules(cfg, d),
		pods: newFeed(d, ns, podResource), replicaSets: newFeed(d, ns, replicaSetResource), history: newFeed(d, ns, revisionResource),
	}
}

// list says what there is, as a first list does.
func (l *lookups) list(t testing.TB, objs ...*metav1.PartialObjectMetadata) {
	t.Helper()
	for _, f := range []*feed{l.pods, l.replicaSets, l.history} {
		var all []any
		for _, o := range objs {
			if l.feedOf(o) == f {
				all = append(all, o)
			}
		}
		require.NoError(t, f.Replace(all, "1"))
	}
}

func (l *lookups) feedOf(o *metav1.PartialObjectMetadata) *feed {
	switch o.Kind {
	case "ReplicaSet":
		return l.replicaSets
	case "ControllerRevision":
		return l.history
	}
	return l.pods
}

func (l *lookups) add(t testing.TB, o *metav1.PartialObjectMetadata) {
	t.Helper()
	require.NoError(t, l.feedOf(o).Add(o))
}

func (l *lookups) remove(t testing.TB, o *metav1.PartialObjectMetadata) {
	t.Helper()
	require.NoError(t, l.feedOf(o).Delete(o))
}

// of stamps a flow from that workload of namespace monitoring, which has no labels, and
// returns identity, basis and reason.
func (l *lookups) of(t testing.TB, name string) [3]string {
	t.Helper()
	record := newRecord(t, raw{flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring", flowlog.SourceName: name})
	stamperOf(t, l.rules).stamp(record)
	got := record.Attributes().AsRaw()
	return [3]string{textOf(got, flowlog.SourceIdentity), textOf(got, flowlog.SourceIdentityBasis), textOf(got, flowlog.SourceIdentityReason)}
}

var (
	isGrafana       = [3]string{"monitoring/grafana", "workload", ""}
	isTempo         = [3]string{"monitoring/tempo", "workload", ""}
	isMissing       = [3]string{"monitoring/?", "unlabelled", "missing"}
	isMixed         = [3]string{"monitoring/?", "unlabelled", "mixed"}
	isUnknown       = [3]string{"monitoring/?", "unlabelled", "unknown_workload"}
	isUnavailable   = [3]string{"monitoring/?", "unlabelled", "api_unavailable"}
	serviceIdentity = "service-identity"
)

// podOf returns a Pod of a ReplicaSet or the like; identity "" is no label.
func podOf(owner, suffix, identity string) *metav1.PartialObjectMetadata {
	return labelled(&metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: owner + "-" + suffix, GenerateName: owner + "-"},
	}, identity)
}

func barePod(name, identity string) *metav1.PartialObjectMetadata {
	return labelled(&metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: name}}, identity)
}

// ownedBy returns an object of that kind with a controlling owner.
func ownedBy(kind, name, ownerKind, owner, identity string) *metav1.PartialObjectMetadata {
	return labelled(&metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{
			{Kind: "Node", Name: "not the controller"}, {Kind: ownerKind, Name: owner, Controller: new(true)},
		}},
	}, identity)
}

func labelled(o *metav1.PartialObjectMetadata, identity string) *metav1.PartialObjectMetadata {
	o.Namespace = "monitoring"
	o.Labels = map[string]string{"team": "sre"}
	if identity != "" {
		o.Labels[serviceIdentity] = identity
	}
	return o
}

func TestLookup(t *testing.T) {
	replicaSet := func(identity string) *metav1.PartialObjectMetadata {
		return ownedBy("ReplicaSet", "grafana-7d9", "Deployment", "grafana", identity)
	}
	revision := func(kind, name, identity string) *metav1.PartialObjectMetadata {
		return ownedBy("ControllerRevision", name, kind, "grafana", identity)
	}
	tests := []struct {
		name string
		objs []*metav1.PartialObjectMetadata
		of   string
		want [3]string
	}{
		{"all Pods agree", []*metav1.PartialObjectMetadata{podOf("grafana-7d9", "a", "grafana"), podOf("grafana-7d9", "b", "grafana")}, "grafana-7d9-*", isGrafana},
		{"Pods disagree", []*metav1.PartialObjectMetadata{podOf("grafana-7d9", "a", "grafana"), podOf("grafana-7d9", "b", "tempo")}, "grafana-7d9-*", isMixed},
		{"a Pod has no label", []*metav1.PartialObjectMetadata{podOf("grafana-7d9", "a", "grafana"), podOf("grafana-7d9", "b", "")}, "grafana-7d9-*", isMixed},
		{"no Pod has a label", []*metav1.PartialObjectMetadata{podOf("grafana-7d9", "a", ""), podOf("grafana-7d9", "b", "")}, "grafana-7d9-*", isMissing},
		{"a bare Pod", []*metav1.PartialObjectMetadata{barePod("debug", "tempo"), podOf("debug", "a", "grafana")}, "debug", isTempo},
		{"another workload", []*metav1.PartialObjectMetadata{podOf("grafana-7d9", "a", "grafana")}, "grafana-8e0-*", isUnknown},
		{"no name on the flow", []*metav1.PartialObjectMetadata{podOf("grafana-7d9", "a", "grafana")}, "", isUnknown},
		{"nothing there", nil, "grafana-7d9-*", isUnknown},
		{"a Deployment's ReplicaSet", []*metav1.PartialObjectMetadata{replicaSet("grafana")}, "grafana-7d9-*", isGrafana},
		{"a ReplicaSet without the label", []*metav1.PartialObjectMetadata{replicaSet("")}, "grafana-7d9-*", isMissing},
		{"Pods before their ReplicaSet", []*metav1.PartialObjectMetadata{replicaSet("grafana"), podOf("grafana-7d9", "a", "tempo")}, "grafana-7d9-*", isTempo},
		{"mixed Pods in spite of their ReplicaSet", []*metav1.PartialObjectMetadata{replicaSet("grafana"), podOf("grafana-7d9", "a", "tempo"), podOf("grafana-7d9", "b", "grafana")}, "grafana-7d9-*", isMixed},
		// Its labels are its author's, not the template's.
		{"a ReplicaSet of nobody's", []*metav1.PartialObjectMetadata{ownedBy("ReplicaSet", "grafana-7d9", "Rollout", "grafana", "grafana")}, "grafana-7d9-*", isUnknown},
		{"a StatefulSet's revisions", []*metav1.PartialObjectMetadata{revision("StatefulSet", "grafana-a1", "grafana"), revision("StatefulSet", "grafana-b2", "grafana")}, "grafana-*", isGrafana},
		{"a DaemonSet's revisions disagree", []*metav1.PartialObjectMetadata{revision("DaemonSet", "grafana-a1", "grafana"), revision("DaemonSet", "grafana-b2", "tempo")}, "grafana-*", isMixed},
		{"revisions of something else", []*metav1.PartialObjectMetadata{revision("CloneSet", "grafana-a1", "grafana")}, "grafana-*", isUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Whether it is listed, or seen to appear, is the same. Lists are trimmed.
			listed := newLookups(t)
			var trimmed []*metav1.PartialObjectMetadata
			for _, o := range tt.objs {
				obj, err := listed.feedOf(o).Transformer()(o)
				require.NoError(t, err)
				kept := obj.(*metav1.PartialObjectMetadata)
				assert.NotContains(t, kept.Labels, "team")
				kept.TypeMeta = o.TypeMeta // the test's own
				trimmed = append(trimmed, kept)
			}
			listed.list(t, trimmed...)
			assert.Equal(t, tt.want, listed.of(t, tt.of), "listed")

			watched := newLookups(t)
			watched.list(t)
			for _, o := range tt.objs {
				watched.add(t, o)
			}
			assert.Equal(t, tt.want, watched.of(t, tt.of), "watched")
		})
	}
}

func TestSecondLabelOfAPod(t *testing.T) {
	l := newLookups(t)
	o := podOf("x", "a", "")
	o.Labels["app.kubernetes.io/name"] = "tempo"
	trimmed, err := l.pods.trim(o)
	require.NoError(t, err)
	l.list(t, trimmed.(*metav1.PartialObjectMetadata))
	assert.Equal(t, isTempo, l.of(t, "x-*"))
}

func TestGonePodsAreRemembered(t *testing.T) {
	l := newLookups(t)
	first, second := podOf("grafana", "a", "grafana"), podOf("grafana", "b", "grafana")
	l.list(t, first, second)

	l.remove(t, first)
	l.clock.Advance(6 * time.Minute)
	l.remove(t, second)
	l.remove(t, second) // once more: no effect
	assert.Equal(t, isGrafana, l.of(t, "grafana-*"))
	assert.Zero(t, l.alivePods())

	l.clock.Advance(10*time.Minute - time.Nanosecond)
	l.forget()
	assert.Equal(t, isGrafana, l.of(t, "grafana-*"), "not yet")
	l.clock.Advance(time.Nanosecond)
	l.forget()
	assert.Equal(t, isUnknown, l.of(t, "grafana-*"))
	assert.Empty(t, l.namespaces["monitoring"].pods.byName, "nothing stays")
	assert.Empty(t, l.gone)
}

func TestGonePodsCountBesideOthers(t *testing.T) {
	l := newLookups(t)
	old := podOf("db", "0", "")
	l.list(t, old)
	l.remove(t, old)
	l.add(t, podOf("db", "0", "tempo")) // a StatefulSet's Pod comes back under its name
	assert.Equal(t, isMixed, l.of(t, "db-*"), "a flow may be the old one's")
	l.clock.Advance(10 * time.Minute)
	l.forget()
	assert.Equal(t, isTempo, l.of(t, "db-*"))
}

// One that is still there says itself what it is.
func TestChangedPodCountsAsWhatItIsNow(t *testing.T) {
	l := newLookups(t)
	l.list(t, podOf("grafana", "a", ""), podOf("grafana", "b", "grafana"))
	require.NoError(t, l.pods.Update(podOf("grafana", "a", "grafana")))
	assert.Equal(t, isGrafana, l.of(t, "grafana-*"))
	require.NoError(t, l.pods.Update(podOf("grafana", "a", "")))
	assert.Equal(t, isMixed, l.of(t, "grafana-*"))
	require.NoError(t, l.pods.Update(podOf("grafana", "b", "")))
	assert.Equal(t, isMissing, l.of(t, "grafana-*"))
}

// After the connection was lost everything is listed again, and what is not there any
// more has gone.
func TestListedAgain(t *testing.T) {
	l := newLookups(t)
	l.list(t, podOf("grafana", "a", "grafana"), podOf("tempo", "a", "tempo"))
	l.list(t, podOf("tempo", "a", "tempo"), podOf("loki", "a", "grafana"))
	assert.EqualValues(t, 2, l.alivePods())
	assert.Equal(t, isGrafana, l.of(t, "grafana-*"), "gone and remembered")
	assert.Equal(t, isGrafana, l.of(t, "loki-*"))
	l.clock.Advance(10 * time.Minute)
	l.forget()
	assert.Equal(t, isUnknown, l.of(t, "grafana-*"))
	assert.Equal(t, isTempo, l.of(t, "tempo-*"))
}

func TestUnavailable(t *testing.T) {
	l := newLookups(t)
	assert.Equal(t, isUnavailable, l.of(t, "grafana-*"), "before the first list")
	require.NoError(t, l.pods.Replace([]any{podOf("grafana", "a", "grafana")}, "1"))
	assert.Equal(t, isGrafana, l.of(t, "grafana-*"), "what is known is known")
	assert.Equal(t, isUnavailable, l.of(t, "tempo-*"), "ReplicaSets may know it")
	require.NoError(t, l.replicaSets.Replace(nil, "1"))
	require.NoError(t, l.history.Replace(nil, "1"))
	assert.Equal(t, isUnknown, l.of(t, "tempo-*"))

	for _, f := range []*feed{l.pods, l.replicaSets, l.history} {
		f.failed()
		f.failed()
		assert.Equal(t, isUnavailable, l.of(t, "tempo-*"), "%s cannot be read", f.resource.Resource)
		assert.Equal(t, isGrafana, l.of(t, "grafana-*"), "known from before")
		f.reached()
		assert.Equal(t, isUnknown, l.of(t, "tempo-*"))
	}
}

// Batches are stamped while Pods come and go, and no record sees anything half done.
func TestLookupsWhilePodsComeAndGo(t *testing.T) {
	const batches, size = 50, 100
	sink := new(consumertest.LogsSink)
	telemetry := componenttest.NewTelemetry()
	p, err := newProcessor(metadatatest.NewSettings(telemetry), kubernetesConfig())
	require.NoError(t, err)
	ns := p.directory.namespaces["monitoring"]
	pods := newFeed(p.directory, ns, podResource)
	require.NoError(t, pods.Replace([]any{podOf("grafana", "stays", "grafana")}, "1"))

	done := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				assert.NoError(t, pods.Add(podOf("grafana", fmt.Sprint(i), "grafana")))
				assert.NoError(t, pods.Delete(podOf("grafana", fmt.Sprint(i), "grafana")))
				p.directory.forget()
			}
		}
	})
	record := newRecord(t, raw{flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring", flowlog.SourceName: "grafana-*"})
	for range batches {
		records := make([]plog.LogRecord, size)
		for i := range records {
			records[i] = record
		}
		logs, err := p.processLogs(t.Context(), newBatch(records...))
		require.NoError(t, err)
		require.NoError(t, sink.ConsumeLogs(t.Context(), logs))
	}
	close(done)
	churn.Wait()
	for _, logs := range sink.AllLogs() {
		for _, record := range recordsOf(logs).All() {
			identity, _ := record.Attributes().Get(flowlog.SourceIdentity)
			require.Equal(t, "monitoring/grafana", identity.Str())
		}
	}
	require.NoError(t, p.shutdown(t.Context()))
	require.NoError(t, telemetry.Shutdown(t.Context()))
}

// A label on the flow needs no look-up, and without `kubernetes` there is none.
func TestTheFlowComesFirst(t *testing.T) {
	l := newLookups(t)
	l.list(t, podOf("grafana", "a", "tempo"))
	record := newRecord(t, raw{
		flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring", flowlog.SourceName: "grafana-*",
		flowlog.SourceLabels: raw{serviceIdentity: "grafana"},
	})
	stamperOf(t, l.rules).stamp(record)
	assert.Equal(t, "monitoring/grafana", record.Attributes().AsRaw()[flowlog.SourceIdentity])
	assert.Equal(t, "label", record.Attributes().AsRaw()[flowlog.SourceIdentityBasis])
}

// Until the Namespaces that the selector matches are known, any namespace may be one of
// them.
func TestNamespacesNotListedYet(t *testing.T) {
	cfg := kubernetesConfig()
	cfg.Kubernetes.Get().NamespaceSelector = "multi=true"
	d := newDirectory(cfg, clockwork.NewFakeClock())
	st := stamperOf(t, newRules(cfg, d))
	of := func() raw {
		record := newRecord(t, raw{
			flowlog.SourceType: "workload", flowlog.SourceNamespace: "dbaas", flowlog.SourceName: "x", flowlog.SourceLabels: raw{serviceIdentity: "orders-db"},
			flowlog.DestinationType: "network", flowlog.DestinationName: "pvt",
			flowlog.DestinationServiceNamespace: "dbaas", flowlog.DestinationServiceName: "external",
		})
		st.stamp(record)
		return record.Attributes().AsRaw()
	}
	got := of()
	for s, basis := range [sideCount]string{"namespace", "service"} {
		assert.Equal(t, "dbaas", got[readKeys[s][fieldIdentity]])
		assert.Equal(t, basis, got[basisKeys[s]])
		assert.Equal(t, "api_unavailable", got[readKeys[s][fieldReason]])
	}

	d.listed()
	got = of()
	assert.Equal(t, "dbaas", got[flowlog.SourceIdentity])
	assert.NotContains(t, got, flowlog.SourceIdentityReason)

	d.add("dbaas", true)
	got = of()
	assert.Equal(t, "dbaas/orders-db", got[flowlog.SourceIdentity])
	assert.Equal(t, "label", got[flowlog.SourceIdentityBasis])
	assert.Equal(t, "dbaas/external", got[flowlog.DestinationIdentity])

	d.remove("dbaas")
	assert.Equal(t, "dbaas", of()[flowlog.SourceIdentity])
}

// Whatever the order of a window's flows, each gets the same identity: a look-up changes
// nothing. And whatever the order in which the API tells what there is, the directory
// comes to the same.
func TestOrderDoesNotMatterToLookups(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, seed))
	identities := []string{"", "grafana", "tempo"}
	for round := range 100 {
		var objs []*metav1.PartialObjectMetadata
		var flows []plog.LogRecord
		for w := range 8 {
			name := fmt.Sprintf("w%d", w)
			for p := range r.IntN(4) {
				objs = append(objs, podOf(name, fmt.Sprint(p), identities[r.IntN(len(identities))]))
			}
			if r.IntN(2) == 0 {
				objs = append(objs, ownedBy("ReplicaSet", name, "Deployment", "d", identities[r.IntN(len(identities))]))
			}
			flows = append(flows, newRecord(t, raw{
				flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring", flowlog.SourceName: name + "-*",
				flowlog.DestinationType: "workload", flowlog.DestinationNamespace: "kube-system", flowlog.DestinationName: "dns-*",
			}))
		}
		gone := map[*metav1.PartialObjectMetadata]bool{}
		for _, o := range objs {
			gone[o] = r.IntN(4) == 0
		}
		var want []raw
		for range 3 {
			l := newLookups(t)
			l.list(t)
			for _, i := range r.Perm(len(objs)) {
				l.add(t, objs[i])
				if gone[objs[i]] {
					l.remove(t, objs[i])
				}
			}
			st := stamperOf(t, l.rules)
			got := make([]raw, len(flows))
			for _, i := range r.Perm(len(flows)) {
				record := recordsOf(newBatch(flows[i])).At(0)
				st.stamp(record)
				got[i] = record.Attributes().AsRaw()
			}
			if want == nil {
				want = got
			}
			require.Equal(t, want, got, "seed %d, round %d", seed, round)
		}
	}
}
