//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/test/stack"
)

// Workloads of the simulated traffic whose flows lack the label, as Goldmane calls them.
// The ReplicaSets' names are those of the simulator's seed 1.
const (
	mysqlLegacy         = "dbaas/mysql-legacy-*"
	nodeExporter        = "monitoring/node-exporter-*"
	collectorReplicas   = "otel-collector-gq49jrvmc"
	deschedulerReplicas = "descheduler-pkh758l5q"
	snapshotReplicas    = "snapshot-controller-7bwsf5lrv"
	otelCollector       = "monitoring/" + collectorReplicas + "-*"
	descheduler         = "kube-system/" + deschedulerReplicas + "-*"
	snapshotController  = "kube-system/" + snapshotReplicas + "-*"
)

const (
	// idle is how long etcd is watched with the Collector, and how long without.
	idle = time.Minute
	// churned Pods are created and deleted, 20 a second.
	churned, churnPeriod = 400, 50 * time.Millisecond
)

// looked are the resources that the processor reads.
var looked = []string{"namespaces", "pods", "replicasets", "controllerrevisions"}

// Look-ups cost etcd nothing: they are reads, of what the shipped RBAC allows, answered
// by the API server from its memory.
func TestKubernetesIsOnlyRead(t *testing.T) {
	t.Parallel() // most of it is watching that nothing happens
	s := newStack(t)
	k := newKubeCluster(t, s)
	namespaces := k.fill(t)
	addr, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window, Seed: 1, History: -1})
	require.NoError(t, err)
	without := k.etcdWrites(t, idle)

	before := k.servedSoFar(t)
	sink := newWorkloadSink(t, multiServiceNamespaces...)
	collector, err := s.Collector(t.Context(), k.collectorOptions(addr, sink, "processors.svcid.multi_service_namespaces=[]"))
	require.NoError(t, err)
	want := map[string]verdict{
		nodeExporter:       {"monitoring/node-exporter", flowlog.BasisWorkload, ""},
		mysqlLegacy:        {"dbaas/mysql-legacy", flowlog.BasisWorkload, ""},
		otelCollector:      {"monitoring/?", flowlog.BasisUnlabelled, flowlog.ReasonMixed},
		descheduler:        {"kube-system/descheduler", flowlog.BasisWorkload, ""},
		snapshotController: {"kube-system/?", flowlog.BasisUnlabelled, flowlog.ReasonUnknownWorkload},
	}
	sink.requireVerdicts(t, time.Now().Unix(), want)
	after := k.servedSoFar(t)
	assert.Equal(t, before.fromEtcd, after.fromEtcd, "lists that the API server has asked of etcd")
	for resource, streams := range map[string]float64{"namespaces": 1, "pods": 3, "replicasets": 3, "controllerrevisions": 3} {
		assert.InDelta(t, streams, after.streamed[resource]-before.streamed[resource], 0, "streams of %s from the watch cache", resource)
	}

	k.createPods(t, newPod("kube-system", snapshotReplicas, "snapshots"))
	k.churn(t, namespaces, churned, churnPeriod)
	want[snapshotController] = verdict{"kube-system/snapshots", flowlog.BasisWorkload, ""}
	sink.requireVerdicts(t, time.Now().Unix(), want)

	with := k.etcdWrites(t, idle)
	t.Logf("writes to etcd in %s without the Collector: %v", idle, without)
	t.Logf("writes to etcd in %s with it: %v", idle, with)
	assert.ElementsMatch(t, slices.Collect(maps.Keys(without)), slices.Collect(maps.Keys(with)))
	require.NoError(t, collector.Stop())
	k.checkRequests(t)
}

// fill makes thirty namespaces with 2,000 Pods, and returns the namespaces' names.
func (k *kubeCluster) fill(t *testing.T) []string {
	t.Helper()
	namespaces := slices.Clone(multiServiceNamespaces)
	for i := len(namespaces); i < 30; i++ {
		name := fmt.Sprintf("team-%02d", i)
		namespaces = append(namespaces, name)
		k.createNamespace(t, name, nil)
	}
	pods := []*unstructured.Unstructured{
		newPod("dbaas", "mysql-legacy", "mysql-legacy"),
		newPod("monitoring", "node-exporter", "node-exporter"),
		newPod("monitoring", "node-exporter", "node-exporter"),
		newPod("monitoring", collectorReplicas, "otel-collector"),
		newPod("monitoring", collectorReplicas, "otel"),
	}
	for i := len(pods); i < 2000; i++ {
		pods = append(pods, newPod(namespaces[i%len(namespaces)], fmt.Sprint("web-", i%7), fmt.Sprint("web-", i%7)))
	}
	k.createPods(t, pods...)

	// A workload whose Pods are gone.
	replicas := newObject("apps/v1", "ReplicaSet", "kube-system", deschedulerReplicas)
	replicas.SetLabels(map[string]string{"service-identity": "descheduler"})
	selector := map[string]any{"service-identity": "descheduler"}
	controls := true
	replicas.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "descheduler", UID: "1", Controller: &controls}})
	replicas.Object["spec"] = map[string]any{
		"replicas": int64(0),
		"selector": map[string]any{"matchLabels": selector},
		"template": map[string]any{"metadata": map[string]any{"labels": selector}, "spec": podSpec()},
	}
	_, err := k.create(t.Context(), replicas)
	require.NoError(t, err)
	return namespaces
}

// served is how often the API server has given out everything that there is of a
// resource, by resource.
type served struct {
	// fromEtcd are lists that it asked of etcd. Its own watch caches begin with one.
	fromEtcd map[string]float64
	// streamed are watches that begin with everything, which only the watch cache can
	// serve.
	streamed map[string]float64
}

// servedSoFar counts for the resources that the processor reads.
//
// What the API server asks of etcd besides lists is no use here: once or twice a minute,
// at random, it asks for the current revision, to estimate how large a resource is.
func (k *kubeCluster) servedSoFar(t *testing.T) served {
	t.Helper()
	s := served{map[string]float64{}, map[string]float64{}}
	for _, resource := range looked {
		label := fmt.Sprintf("resource=%q", resource)
		var err error
		s.fromEtcd[resource], err = k.Metric(t.Context(), "etcd_requests_total", label, `operation="list"`)
		require.NoError(t, err)
		require.Positive(t, s.fromEtcd[resource], "the watch cache of %s was filled", resource)
		s.streamed[resource], err = k.Metric(t.Context(), "apiserver_watch_list_duration_seconds_count", label)
		require.NoError(t, err)
	}
	return s
}

// checkRequests looks through all that the Collector's user has asked of the API.
func (k *kubeCluster) checkRequests(t *testing.T) {
	t.Helper()
	requests, err := k.Audit(collectorUser)
	require.NoError(t, err)
	kinds := map[string]int{}
	everything := 0 // requests for everything that there is, rather than what changes
	for _, r := range requests {
		require.Contains(t, []string{"get", "list", "watch"}, r.Verb, "%+v", r)
		require.NotEqual(t, 403, r.ResponseStatus.Code, "%+v", r)
		if r.Stage != "RequestReceived" {
			continue
		}
		kinds[r.Verb+" "+r.ObjectRef.Resource]++
		if r.ObjectRef.Resource != "namespaces" {
			require.Contains(t, multiServiceNamespaces, r.ObjectRef.Namespace, "%+v", r)
		}
		uri, err := url.Parse(r.URI)
		require.NoError(t, err)
		if r.Verb == "list" || uri.Query().Get("sendInitialEvents") == "true" {
			everything++
			require.Equal(t, "0", uri.Query().Get("resourceVersion"), "%+v", r)
		}
	}
	t.Logf("requests of %s: %v", collectorUser, kinds)
	// Namespaces once, and three resources in each of three of them.
	require.Equal(t, 10, everything)
	for _, resource := range looked {
		require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(kinds)), func(kind string) bool {
			return strings.HasSuffix(kind, " "+resource)
		}), "%s were never read", resource)
	}
}
