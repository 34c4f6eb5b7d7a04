package svcidprocessor

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

const cachedPods = 20_000

// clusterPod returns Pod i of 20,000 as an API server sends its metadata: ten Pods a
// ReplicaSet, a dozen labels, annotations and managedFields. Every string is its own.
func clusterPod(i int) *metav1.PartialObjectMetadata {
	owner := fmt.Sprintf("service-%04d-7d9f8b6c5%x", i/10, i/10%16)
	o := podOf(owner, fmt.Sprintf("%05d", i), fmt.Sprintf("service-%d", i/10%40))
	for l := range 10 {
		o.Labels[fmt.Sprintf("app.kubernetes.io/label-%d", l)] = owner
	}
	o.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": owner + strings.Repeat("x", 1000)}
	o.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: &metav1.FieldsV1{Raw: make([]byte, 3000)}}}
	return o
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// At most 1 KB a cached Pod, however they came to be known: in one list, one by one, or
// as those that are gone and remembered.
func TestMemoryOfPods(t *testing.T) {
	const limit = 1000 // bytes a Pod
	measure := func(name string, fill func(l *lookups)) {
		before := inUse()
		l := newLookups(t)
		fill(l)
		each := (inUse() - before) / cachedPods
		t.Logf("%s: %d bytes a Pod", name, each)
		assert.Less(t, each, int64(limit), name)
		assert.Positive(t, each, name)
		runtime.KeepAlive(l)
	}
	measure("listed", func(l *lookups) {
		// As a reflector collects a list that is streamed.
		list := cache.NewStore(cache.DeletionHandlingMetaNamespaceKeyFunc, cache.WithTransformer(l.pods.Transformer()))
		before := inUse()
		for i := range cachedPods {
			require.NoError(t, list.Add(clusterPod(i)))
		}
		t.Logf("while it is streamed: %d bytes a Pod more", (inUse()-before)/cachedPods)
		require.NoError(t, l.pods.Replace(list.List(), "1"))
	})
	watched := func(l *lookups) {
		for i := range cachedPods {
			require.NoError(t, l.pods.Add(clusterPod(i)))
		}
	}
	measure("watched", watched)
	measure("gone", func(l *lookups) {
		watched(l)
		for i := range cachedPods {
			require.NoError(t, l.pods.Delete(clusterPod(i)))
		}
	})
}
