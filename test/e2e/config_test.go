//go:build e2e

package e2e

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/goldtrail/goldtrail/test/stack"
)

// Each configuration that is shipped is one that the built Collector takes.
func TestExamplesAreValid(t *testing.T) {
	embedded := filepath.Join(t.TempDir(), "collector.yaml")
	require.NoError(t, os.WriteFile(embedded, []byte(manifest(t)["ConfigMap"].Data["collector.yaml"]), 0o600))
	for _, config := range []string{examples + "local.yaml", examples + "cluster.yaml", embedded} {
		t.Run(filepath.Base(config), func(t *testing.T) {
			require.NoError(t, newStack(t).Validate(t.Context(), stack.CollectorOptions{
				Config: config, Env: map[string]string{"STORAGE_DIR": t.TempDir()},
			}))
		})
	}
}

func TestManifest(t *testing.T) {
	objects := manifest(t)
	// Whoever adds a kind, a Role above all, has to say so here.
	require.ElementsMatch(t, []string{"Namespace", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Deployment", "NetworkPolicy"},
		slices.Collect(maps.Keys(objects)))

	cluster, err := os.ReadFile(examples + "cluster.yaml")
	require.NoError(t, err)
	require.Equal(t, string(cluster), objects["ConfigMap"].Data["collector.yaml"],
		"the ConfigMap in kubernetes.yaml is not cluster.yaml: copy it there, four blanks in")
}

// object is what the tests read of an object in a manifest.
type object struct {
	Kind string
	Data map[string]string
}

// manifest is examples/kubernetes.yaml, by kind; it has one object of each.
func manifest(t *testing.T) map[string]object {
	t.Helper()
	file, err := os.Open(examples + "kubernetes.yaml")
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	objects := map[string]object{}
	for documents := yaml.NewDecoder(file); ; {
		var o object
		err := documents.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		if o.Kind == "" {
			continue // the comment at the top
		}
		require.NotContains(t, objects, o.Kind)
		objects[o.Kind] = o
	}
}

// A bad configuration ends the Collector, at start as well as in validate, and the
// message tells the key, the value, the rule and the remedy.
func TestBadConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name, set string
		want      []string
	}{
		{"a receiver's key that is none", "receivers.goldmane.windov=15s", []string{"receivers", "goldmane", "invalid keys: windov"}},
		{"a processor's key that is none", "processors.svcid.multi_service=[a]", []string{"processors", "svcid", "invalid keys: multi_service"}},
		{"a short settle_delay", "receivers.goldmane.settle_delay=10s", []string{"receivers::goldmane", "'settle_delay' is 10s: must be at least 32s"}},
		{"no duration", "receivers.goldmane.window=soon", []string{"receivers", "goldmane", "'window' time: invalid duration"}},
		{"a pattern for a name", "processors.svcid.multi_service_namespaces=[kube-*]", []string{"processors::svcid", "'multi_service_namespaces[0]' is \"kube-*\"", "no pattern"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := stack.CollectorOptions{Config: examples + "local.yaml", Set: []string{tt.set}}
			s := newStack(t)
			_, startErr := s.Collector(t.Context(), o)
			validateErr := s.Validate(t.Context(), o)
			for _, err := range []error{startErr, validateErr} {
				require.ErrorContains(t, err, "exit status 1")
				for _, want := range tt.want {
					require.ErrorContains(t, err, want)
				}
			}
		})
	}
}
