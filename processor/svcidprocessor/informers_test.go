package svcidprocessor

import (
	"context"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
)

// clusterRig runs informers on client-go's stand-in for an API server, which knows no
// streams: lists and watches follow. How a real one answers, test/e2e shows.
type clusterRig struct {
	*contactRig
	client    *fake.FakeMetadataClient
	informers *informers
	clock     *clockwork.FakeClock
}

func newClusterRig(t *testing.T, selector string, objs ...runtime.Object) *clusterRig {
	t.Helper()
	scheme := fake.NewTestScheme()
	require.NoError(t, metav1.AddMetaToScheme(scheme))
	client := fake.NewSimpleMetadataClient(scheme, objs...)
	client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		if w, ok := action.(clienttesting.WatchActionImpl); ok && w.ListOptions.SendInitialEvents != nil {
			return true, nil, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil)
		}
		return false, nil, nil
	})
	cfg := kubernetesConfig()
	cfg.MultiServiceNamespaces = []string{"monitoring"}
	cfg.Kubernetes.Get().NamespaceSelector = selector
	clock := clockwork.NewFakeClock()
	contact := newContactRig(t)
	r := &clusterRig{contactRig: contact, client: client, clock: clock, informers: &informers{
		cfg: cfg.Kubernetes.Get(), static: cfg.MultiServiceNamespaces, directory: newDirectory(cfg, clock),
		api:     newTestAPI(func() (*rest.Config, error) { return &rest.Config{}, nil }),
		contact: contact.contact, clock: clock,
	}}
	r.informers.api.client = client
	r.informers.start(context.WithoutCancel(t.Context()))
	t.Cleanup(r.informers.shutdown)
	return r
}

func newTestAPI(load func() (*rest.Config, error)) *api {
	a := dialledAPI()
	a.load = load
	return a
}

func namespaceObject(name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"multi": "true"}},
	}
}

func podObject(namespace, name, identity string) *metav1.PartialObjectMetadata {
	o := barePod(name, identity)
	o.APIVersion, o.Namespace = "v1", namespace
	return o
}

func (r *clusterRig) resource(resource schema.GroupVersionResource, namespace string) fake.MetadataClient {
	return r.client.Resource(resource).Namespace(namespace).(fake.MetadataClient)
}

// find is nil where the namespace is no multi-Service one.
func (r *clusterRig) find(namespace, name string) any {
	d := r.informers.directory
	d.mu.RLock()
	defer d.mu.RUnlock()
	ns, ok := d.namespaces[namespace]
	if !ok {
		return nil
	}
	v := ns.find(name)
	return [3]string{v.identity, basisNames[v.basis], reasonNames[v.reason]}
}

func (r *clusterRig) eventually(t *testing.T, want any, namespace, name string) {
	t.Helper()
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, r.find(namespace, name)) },
		10*time.Second, time.Millisecond, "%s/%s never became %v: it is %v", namespace, name, want, r.find(namespace, name))
}

func TestInformers(t *testing.T) {
	r := newClusterRig(t, "multi=true",
		namespaceObject("dbaas"), podObject("monitoring", "grafana", "grafana"), podObject("dbaas", "db", "orders-db"),
		podObject("payments", "api", "api"))
	r.eventually(t, isGrafana, "monitoring", "grafana")
	r.eventually(t, [3]string{"dbaas/orders-db", "workload", ""}, "dbaas", "db")
	assert.Nil(t, r.find("payments", "api"))

	_, err := r.resource(podResource, "monitoring").CreateFake(podObject("monitoring", "tempo", "tempo"), metav1.CreateOptions{})
	require.NoError(t, err)
	r.eventually(t, isTempo, "monitoring", "tempo")
	require.NoError(t, r.client.Resource(podResource).Namespace("monitoring").Delete(t.Context(), "tempo", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool { return r.informers.directory.alivePods() == 2 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, isTempo, r.find("monitoring", "tempo"), "remembered")
	r.clock.Advance(10 * time.Minute)
	r.eventually(t, isUnknown, "monitoring", "tempo")

	// A Namespace becomes a multi-Service one, and ceases to be.
	_, err = r.resource(namespaceResource, "").CreateFake(namespaceObject("payments"), metav1.CreateOptions{})
	require.NoError(t, err)
	r.eventually(t, [3]string{"payments/api", "workload", ""}, "payments", "api")
	require.NoError(t, r.client.Resource(namespaceResource).Delete(t.Context(), "payments", metav1.DeleteOptions{}))
	r.eventually(t, nil, "payments", "api")
	require.Eventually(t, func() bool { return r.informers.directory.alivePods() == 2 }, 10*time.Second, time.Millisecond)

	// Only multi-Service namespaces are read, and nothing is written but by this test.
	for _, action := range r.client.Actions() {
		switch action.GetVerb() {
		case "list", "watch":
			if action.GetResource() != namespaceResource {
				assert.Contains(t, []string{"monitoring", "dbaas", "payments"}, action.GetNamespace())
			}
		default:
			assert.Contains(t, []string{"create", "delete"}, action.GetVerb(), "the test's own")
		}
	}
}

// A namespace that the configuration lists stays a multi-Service one whatever its labels.
func TestListedNamespaceStays(t *testing.T) {
	r := newClusterRig(t, "multi=true", namespaceObject("monitoring"), podObject("monitoring", "grafana", "grafana"))
	r.eventually(t, isGrafana, "monitoring", "grafana")
	require.Eventually(t, func() bool {
		r.informers.directory.mu.RLock()
		defer r.informers.directory.mu.RUnlock()
		return r.informers.directory.complete
	}, 10*time.Second, time.Millisecond)
	s := &selected{ctx: t.Context(), informers: r.informers, names: map[string]struct{}{"monitoring": {}}}
	require.NoError(t, s.Replace(nil, "2"))
	assert.Equal(t, isGrafana, r.find("monitoring", "grafana"))
}

func TestPodsAreCounted(t *testing.T) {
	r := newClusterRig(t, "", podObject("monitoring", "grafana", "grafana"))
	r.eventually(t, isGrafana, "monitoring", "grafana")
	assert.Equal(t, int64(1), r.informers.directory.alivePods())
	assert.Empty(t, r.said(), "all is well: nothing to tell")
	assert.Empty(t, r.host.seen())
}
