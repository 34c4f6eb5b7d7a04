//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/goldtrail/goldtrail/test/stack"
)

const (
	rbacManifest = "../../deploy/kubernetes/rbac.yaml"
	// collectorUser is the ServiceAccount in it, as the API calls it.
	collectorUser = "system:serviceaccount:goldtrail:goldtrail-collector"
	// multiService is the label that the tests' multi-Service namespaces have.
	multiService = "goldtrail.io/multi-service"
)

// multiServiceNamespaces are those of the simulated traffic.
var multiServiceNamespaces = []string{"dbaas", "kube-system", "monitoring"}

// kubeCluster is a Kubernetes API with the RBAC that is shipped and the three
// multi-Service namespaces.
type kubeCluster struct {
	*stack.Kube
	kubeconfig string // of the Collector
	admin      dynamic.Interface
}

func newKubeCluster(t *testing.T, s *stack.Stack) *kubeCluster {
	t.Helper()
	kube, err := s.Kube(t.Context())
	require.NoError(t, err)
	k := &kubeCluster{Kube: kube, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	k.connect(t)

	k.createNamespace(t, "goldtrail", nil)
	for _, name := range multiServiceNamespaces {
		k.createNamespace(t, name, map[string]string{multiService: "true"})
	}
	for _, object := range readManifest(t, rbacManifest) {
		_, err := k.create(t.Context(), object)
		require.NoError(t, err)
	}
	k.writeKubeconfig(t)
	return k
}

// connect makes the tests' own client, anew when the API has another authority.
func (k *kubeCluster) connect(t *testing.T) {
	t.Helper()
	var err error
	k.admin, err = dynamic.NewForConfig(&rest.Config{
		Host: k.URL, BearerToken: k.Token, TLSClientConfig: rest.TLSClientConfig{CAFile: k.CAFile()},
		QPS: -1, // no limit of its own
	})
	require.NoError(t, err)
}

// writeKubeconfig gives the Collector's kubeconfig a token of the ServiceAccount, and
// the authority that the API has now.
func (k *kubeCluster) writeKubeconfig(t *testing.T) {
	t.Helper()
	account := newObject("v1", "ServiceAccount", "goldtrail", "goldtrail-collector")
	request, err := k.resource(account).Create(t.Context(),
		newObject("authentication.k8s.io/v1", "TokenRequest", "goldtrail", account.GetName()), metav1.CreateOptions{}, "token")
	require.NoError(t, err)
	token, found, err := unstructured.NestedString(request.Object, "status", "token")
	require.NoError(t, err)
	require.True(t, found)
	require.NoError(t, k.Kubeconfig(k.kubeconfig, token))
}

// collectorOptions run the Collector with look-ups, every attribute of a record kept,
// and sink in Loki's place.
func (k *kubeCluster) collectorOptions(goldmane string, sink *workloadSink, set ...string) stack.CollectorOptions {
	return stack.CollectorOptions{
		Config: examples + "local.yaml",
		Set: slices.Concat(fastWindows, []string{
			"processors.svcid.kubernetes.auth_type=kubeConfig",
			"processors.svcid.kubernetes.namespace_selector=" + multiService + "=true",
			"service.pipelines.logs/loki.processors=[]",
		}, set),
		Env: map[string]string{"GOLDMANE_ENDPOINT": goldmane, "LOKI_URL": sink.url, "KUBECONFIG": k.kubeconfig},
	}
}

// readManifest returns the objects of a manifest.
func readManifest(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	var objects []*unstructured.Unstructured
	for documents := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		var o unstructured.Unstructured
		err := documents.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err, path)
		objects = append(objects, &o)
	}
}

// newObject is an object without its substance.
func newObject(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// resource is where the API has objects like this one.
func (k *kubeCluster) resource(o *unstructured.Unstructured) dynamic.ResourceInterface {
	resource, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
	if ns := o.GetNamespace(); ns != "" {
		return k.admin.Resource(resource).Namespace(ns)
	}
	return k.admin.Resource(resource)
}

// create creates an object, and returns it as the API has it. A field that the API does
// not know is an error.
func (k *kubeCluster) create(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return k.resource(o).Create(ctx, o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
}

// setRules replaces the rules of the ClusterRole that is shipped.
func (k *kubeCluster) setRules(t *testing.T, rules []any) {
	t.Helper()
	for _, o := range readManifest(t, rbacManifest) {
		if o.GetKind() == "ClusterRole" {
			o.Object["rules"] = rules
			_, err := k.resource(o).Update(t.Context(), o, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
			require.NoError(t, err)
		}
	}
}

// createNamespace creates a namespace, or labels one that the API makes itself.
func (k *kubeCluster) createNamespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	ns := newObject("v1", "Namespace", "", name)
	ns.SetLabels(labels)
	_, err := k.create(t.Context(), ns)
	if apierrors.IsAlreadyExists(err) {
		_, err = k.resource(ns).Update(t.Context(), ns, metav1.UpdateOptions{})
	}
	require.NoError(t, err)
}

// newPod is a Pod of a workload, as its controller makes it: generateName is the
// controller's name and a hyphen. Without an identity it has no such label.
func newPod(namespace, workload, identity string) *unstructured.Unstructured {
	pod := newObject("v1", "Pod", namespace, "")
	pod.SetGenerateName(workload + "-")
	labels := map[string]string{"app.kubernetes.io/name": workload, "app.kubernetes.io/part-of": namespace}
	if identity != "" {
		labels["service-identity"] = identity
	}
	pod.SetLabels(labels)
	pod.Object["spec"] = podSpec()
	return pod
}

func podSpec() map[string]any {
	return map[string]any{"containers": []any{map[string]any{"name": "main", "image": "registry.example/main"}}}
}

// createPods creates Pods, sixteen at a time.
func (k *kubeCluster) createPods(t *testing.T, pods ...*unstructured.Unstructured) {
	t.Helper()
	todo := make(chan *unstructured.Unstructured)
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for pod := range todo {
				_, err := k.create(t.Context(), pod)
				assert.NoError(t, err)
			}
		})
	}
	for _, pod := range pods {
		todo <- pod
	}
	close(todo)
	workers.Wait()
	require.False(t, t.Failed())
}

// churn creates n Pods and deletes as many, one of each every period, in all of the
// namespaces by turns. At the end there are as many Pods as before.
func (k *kubeCluster) churn(t *testing.T, namespaces []string, n int, every time.Duration) {
	t.Helper()
	const lifetime = 40 // periods
	var alive []*unstructured.Unstructured
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range n + lifetime {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return
		}
		if i < n {
			workload := fmt.Sprint("churn-", i%100)
			pod, err := k.create(t.Context(), newPod(namespaces[i%len(namespaces)], workload, workload))
			require.NoError(t, err)
			alive = append(alive, pod)
		}
		if i >= lifetime {
			require.NoError(t, k.resource(alive[0]).Delete(t.Context(), alive[0].GetName(), metav1.DeleteOptions{}))
			alive = alive[1:]
		}
	}
}

// etcdWrites watches every key of etcd for a while and returns how often each was
// written. That nothing was missed shows in the revisions, which have no gap, and in a
// write of its own at the end.
func (k *kubeCluster) etcdWrites(t *testing.T, duration time.Duration) map[string]int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next, err := k.Etcd.Changes(ctx)
	require.NoError(t, err)

	end := newObject("v1", "ConfigMap", "default", fmt.Sprint("end-of-watch-", time.Now().UnixNano()))
	created := make(chan error, 1)
	timer := time.AfterFunc(duration, func() {
		_, err := k.create(t.Context(), end)
		created <- err
	})
	defer timer.Stop()
	writes := map[string]int{}
	for last := int64(0); ; {
		change, err := next()
		require.NoError(t, err)
		if last != 0 {
			require.LessOrEqual(t, change.Revision, last+1, "the watch of etcd has missed a write before that of %s", change.Key)
		}
		last = change.Revision
		if change.Key == "/registry/configmaps/default/"+end.GetName() {
			require.NoError(t, <-created)
			return writes
		}
		writes[change.Key]++
	}
}
