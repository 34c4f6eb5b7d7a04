package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Kubernetes is the API, asked as somebody.
type Kubernetes struct{ config *rest.Config }

// NewKubernetes takes a kubeconfig with its current context, or, where path is "", the
// ServiceAccount of the Pod that this runs in; nil where it runs in none. as is whom to
// ask as, "" for oneself: that takes the right to impersonate.
func NewKubernetes(path, as string) (*Kubernetes, error) {
	var config *rest.Config
	var err error
	if path != "" {
		rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: path}
		config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	} else {
		config, err = rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) || errors.Is(err, fs.ErrNotExist) { // or no token is mounted
			return nil, nil //nolint:nilnil // no Kubernetes is no error
		}
	}
	if err != nil {
		return nil, err
	}
	config.Impersonate.UserName = as
	config.UserAgent = "goldtrail"
	config.Timeout = callTimeout
	config.QPS = -1 // a dozen requests
	config.WarningHandlerWithContext = rest.NoWarnings{}
	return &Kubernetes{config}, nil
}

// absent is the name of what is asked for. Nothing is called so: the answer is empty.
const absent = "goldtrail-doctor-asks-for-nothing"

// needed is what deploy/kubernetes/rbac.yaml grants; a test holds the two together.
var needed = []struct {
	schema.GroupVersionResource
	namespaced bool
}{
	{schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, false},
	{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, true},
	{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}, true},
	{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "controllerrevisions"}, true},
}

// verbs are what it grants of each.
var verbs = []string{"get", "list", "watch"}

// examine tries to read, by each verb, what is not there. A review of rights would be a
// create; this stays with what the processor does itself. With resourceVersion=0 the
// answers come from the API server's watch cache and not from etcd; the name keeps a list
// empty, which the limit does not do there.
func (k *Kubernetes) examine(ctx context.Context, s *section) {
	if k == nil {
		s.skip("rights", "no Kubernetes is named: give --kubeconfig (KUBECONFIG). Without `kubernetes:` in svcid none are needed")
		return
	}
	client, err := metadata.NewForConfig(k.config)
	if err != nil {
		s.fail("reach", "see the kubeconfig", "%v", err)
		return
	}
	who := "we"
	if k.config.Impersonate.UserName != "" {
		who = k.config.Impersonate.UserName
	}
	type answer struct {
		resource schema.GroupResource
		verb     string
		err      error
	}
	answers := make([]answer, len(needed)*len(verbs))
	var requests sync.WaitGroup
	for i := range needed {
		for j, verb := range verbs {
			requests.Go(func() {
				a := &answers[i*len(verbs)+j]
				a.resource, a.verb = needed[i].GroupResource(), verb
				of := client.Resource(needed[i].GroupVersionResource)
				if verb == "get" && needed[i].namespaced {
					a.err = read(ctx, of.Namespace(metav1.NamespaceDefault), verb)
					return
				}
				a.err = read(ctx, of, verb)
			})
		}
	}
	requests.Wait()

	missing := map[schema.GroupResource][]string{}
	for _, a := range answers {
		switch {
		case a.err == nil, apierrors.IsNotFound(a.err):
		case apierrors.IsForbidden(a.err) && strings.Contains(a.err.Error(), "impersonate"):
			s.fail("rights", "give a kubeconfig that may impersonate, an administrator's; or leave --as out", "%v", a.err)
			return
		case apierrors.IsForbidden(a.err):
			missing[a.resource] = append(missing[a.resource], a.verb)
		case apierrors.IsUnauthorized(a.err):
			s.fail("reach", "renew the token or the client certificate of the kubeconfig or of the ServiceAccount", "%s does not know us: %v", k.config.Host, a.err)
			return
		default:
			s.unreachable(k.config.Host, a.err)
			return
		}
	}
	s.ok("reach", "%s answers", k.config.Host)
	if len(missing) > 0 {
		s.fail("rights", "`kubectl apply -f deploy/kubernetes/rbac.yaml`, or add to the ClusterRole: "+rules(missing)+". Only `kubernetes:` in svcid needs them",
			"%s may not %s", who, listed(missing))
		return
	}
	hint := ""
	if k.config.Impersonate.UserName == "" {
		hint = "; of the Collector's own rights tells --as system:serviceaccount:goldtrail:goldtrail-collector"
	}
	s.ok("rights", "%s may get, list and watch all that svcid looks up%s", who, hint)
}

// read asks for what is not there.
func read(ctx context.Context, of metadata.ResourceInterface, verb string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	seconds := int64(1)
	options := metav1.ListOptions{ResourceVersion: "0", Limit: 1, FieldSelector: "metadata.name=" + absent, TimeoutSeconds: &seconds}
	var err error
	switch verb {
	case "get":
		_, err = of.Get(ctx, absent, metav1.GetOptions{ResourceVersion: "0"})
	case "list":
		_, err = of.List(ctx, options)
	case "watch":
		options.Limit = 0
		w, failed := of.Watch(ctx, options)
		if err = failed; err == nil {
			w.Stop()
		}
	}
	return err
}

func (s *section) unreachable(host string, err error) {
	remedy := "is the API server there, and may this machine reach it? See the kubeconfig's server"
	var op *net.OpError
	if !errors.As(err, &op) && strings.Contains(err.Error(), "x509") {
		remedy = "see certificate-authority of the kubeconfig: it must be the API server's"
	}
	s.fail("reach", remedy, "%s: %v", host, err)
}

func byName(a, b schema.GroupResource) int { return strings.Compare(a.String(), b.String()) }

// listed says what is missing.
func listed(missing map[schema.GroupResource][]string) string {
	var parts []string
	for _, r := range slices.SortedFunc(maps.Keys(missing), byName) {
		parts = append(parts, strings.Join(missing[r], ", ")+" "+r.String())
	}
	return strings.Join(parts, "; ")
}

// rules are those of RBAC that grant what is missing.
func rules(missing map[schema.GroupResource][]string) string {
	var parts []string
	for _, r := range slices.SortedFunc(maps.Keys(missing), byName) {
		parts = append(parts, fmt.Sprintf("{apiGroups: [%q], resources: [%s], verbs: [%s]}", r.Group, r.Resource, strings.Join(missing[r], ", ")))
	}
	return strings.Join(parts, ", ")
}
