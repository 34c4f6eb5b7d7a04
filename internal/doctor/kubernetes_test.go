package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// kubeAPI answers as an API server that refuses what refuse says, with a status. test/e2e
// has the real one.
func kubeAPI(t *testing.T, as string, refuse func(r *http.Request) int) []Check {
	t.Helper()
	var mu sync.Mutex
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		assert.Equal(t, http.MethodGet, r.Method, "what may write")
		assert.Equal(t, "0", r.URL.Query().Get("resourceVersion"), "what reads etcd: %s", r.URL)
		assert.Equal(t, as, r.Header.Get("Impersonate-User"))
		assert.Contains(t, r.Header.Get("Accept"), "PartialObjectMetadata")
		one := strings.HasSuffix(r.URL.Path, absent)
		if !one {
			assert.Equal(t, "metadata.name="+absent, r.URL.Query().Get("fieldSelector"), "what gives more than nothing")
		}
		w.Header().Set("Content-Type", "application/json")
		status, reason := refuse(r), map[int]string{http.StatusForbidden: "Forbidden", http.StatusUnauthorized: "Unauthorized"}
		switch {
		case status == 0 && one:
			status, reason = http.StatusNotFound, map[int]string{http.StatusNotFound: "NotFound"}
		case status == 0 && r.URL.Query().Get("watch") != "":
			return
		case status == 0:
			_, err := fmt.Fprint(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`)
			assert.NoError(t, err)
			return
		}
		w.WriteHeader(status)
		_, err := fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"because of %s"}`, reason[status], status, r.URL.Path)
		assert.NoError(t, err)
	}))
	t.Cleanup(s.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": [{"name": "test", "cluster": {"server": "`+s.URL+`"}}], "users": [{"name": "test", "user": {}}],
		"contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]}`), 0o600))
	k, err := NewKubernetes(path, as)
	require.NoError(t, err)
	of := &section{area: AreaKubernetes}
	k.examine(t.Context(), of)
	require.NotEmpty(t, asked)
	return of.checks
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	allow := func(*http.Request) int { return 0 }
	checks := kubeAPI(t, "", allow)
	requireCheck(t, checks, "reach", wanted{OK, "answers", ""})
	requireCheck(t, checks, "rights", wanted{OK, "we may get, list and watch all that svcid looks up; of the Collector's own", ""})
	checks = kubeAPI(t, "system:serviceaccount:goldtrail:goldtrail-collector", allow)
	requireCheck(t, checks, "rights", wanted{OK, "goldtrail-collector may", ""})

	checks = kubeAPI(t, "", func(r *http.Request) int {
		if strings.Contains(r.URL.Path, "replicasets") || strings.Contains(r.URL.Path, "pods") && r.URL.Query().Get("watch") != "" {
			return http.StatusForbidden
		}
		return 0
	})
	requireCheck(t, checks, "rights", wanted{
		Failure, "we may not watch pods; get, list, watch replicasets.apps",
		`{apiGroups: [""], resources: [pods], verbs: [watch]}, {apiGroups: ["apps"], resources: [replicasets], verbs: [get, list, watch]}`,
	})
	checks = kubeAPI(t, "", func(*http.Request) int { return http.StatusUnauthorized })
	requireCheck(t, checks, "reach", wanted{Failure, "does not know us", "renew the token"})
	checks = kubeAPI(t, "", func(*http.Request) int { return http.StatusBadGateway })
	requireCheck(t, checks, "reach", wanted{Failure, "because of", "kubeconfig"})

	s := &section{}
	(*Kubernetes)(nil).examine(t.Context(), s)
	requireCheck(t, s.checks, "rights", wanted{Skipped, "--kubeconfig", ""})
	_, err := NewKubernetes("nothere", "")
	require.ErrorContains(t, err, "nothere")
}

// What is checked is what deploy/kubernetes/rbac.yaml grants.
func TestRulesAreThoseThatAreShipped(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../deploy/kubernetes/rbac.yaml")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
	var granted, checked []string
	for range 3 {
		var o struct {
			Rules []struct {
				APIGroups []string `json:"apiGroups"`
				Resources []string `json:"resources"`
				Verbs     []string `json:"verbs"`
			} `json:"rules"`
		}
		require.NoError(t, decoder.Decode(&o))
		for _, rule := range o.Rules {
			require.Equal(t, verbs, rule.Verbs)
			for _, resource := range rule.Resources {
				granted = append(granted, rule.APIGroups[0]+"/"+resource)
			}
		}
	}
	for _, n := range needed {
		checked = append(checked, n.Group+"/"+n.Resource)
	}
	require.Equal(t, granted, checked)
}
