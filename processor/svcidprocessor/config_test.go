package svcidprocessor

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func TestConfig(t *testing.T) {
	tests := []struct {
		id   string
		want *Config
		err  string // the whole text; lines are separate violations
	}{
		{id: "svcid", want: &Config{Labels: []string{"service-identity"}}},
		{id: "svcid/all", want: &Config{
			Labels:                 []string{"service-identity", "app.kubernetes.io/name"},
			MultiServiceNamespaces: []string{"monitoring", "kube-system"},
			KeepLabels:             []string{"app*", "team"},
		}},
		{id: "svcid/null", want: &Config{Labels: []string{"service-identity"}}},
		{id: "svcid/no_labels", err: `'labels' is []: must name at least one label key; leave it out for the default [service-identity]`},
		{id: "svcid/bad_labels", err: `'labels[0]' is "": must be a label key as Kubernetes takes it, such as service-identity or app.kubernetes.io/name; mend or remove it
'labels[1]' is "service identity": must be a label key as Kubernetes takes it, such as service-identity or app.kubernetes.io/name; mend or remove it
'labels[3]' is "app": must be named once, and 'labels[2]' names it; remove one of the two
'labels[4]' is "a/b/c": must be a label key as Kubernetes takes it, such as service-identity or app.kubernetes.io/name; mend or remove it`},
		{id: "svcid/bad_namespaces", err: `'multi_service_namespaces[1]' is "Monitoring": must be a namespace's whole name (a-z, 0-9 and '-', at most 63 characters, no pattern); mend or remove it
'multi_service_namespaces[2]' is "kube-*": must be a namespace's whole name (a-z, 0-9 and '-', at most 63 characters, no pattern); mend or remove it
'multi_service_namespaces[3]' is "": must be a namespace's whole name (a-z, 0-9 and '-', at most 63 characters, no pattern); mend or remove it
'multi_service_namespaces[4]' is "monitoring": must be named once, and 'multi_service_namespaces[0]' names it; remove one of the two`},
		{id: "svcid/long_namespace", err: `'multi_service_namespaces[0]' is "a123456789b123456789c123456789d123456789e123456789f123456789g123": must be a namespace's whole name (a-z, 0-9 and '-', at most 63 characters, no pattern); mend or remove it`},
		{id: "svcid/bad_globs", err: `'keep_labels[1]' is "": must be made of the characters of a label key, '*' and '?'; write alternatives as entries of their own, and "*" for every label
'keep_labels[2]' is "app{": must be made of the characters of a label key, '*' and '?'; write alternatives as entries of their own, and "*" for every label
'keep_labels[3]' is "team sre": must be made of the characters of a label key, '*' and '?'; write alternatives as entries of their own, and "*" for every label`},
	}
	for _, tt := range tests {
		t.Run(tt.id, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			require.NoError(t, load(t, tt.id, cfg))
			err := confmap.Validate(cfg)
			if tt.err != "" {
				assert.EqualError(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, cfg)
		})
	}
	t.Run("svcid/wrong_key", func(t *testing.T) {
		err := load(t, "svcid/wrong_key", createDefaultConfig().(*Config))
		assert.ErrorContains(t, err, "has invalid keys: label")
	})
}

func load(t *testing.T, id string, cfg *Config) error {
	t.Helper()
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	require.True(t, conf.IsSet(id), "testdata/config.yaml has no %s", id)
	sub, err := conf.Sub(id)
	require.NoError(t, err)
	return sub.Unmarshal(cfg)
}

func TestTheREADMENamesEveryKey(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	of := reflect.TypeFor[Config]()
	for i := range of.NumField() {
		if key := of.Field(i).Tag.Get("mapstructure"); key != "" {
			assert.Contains(t, string(page), "| `"+key+"` | `", "add %s to the table in README.md", key)
		}
	}
}
