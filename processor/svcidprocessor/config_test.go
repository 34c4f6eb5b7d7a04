package svcidprocessor

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func TestConfig(t *testing.T) {
	tests := []struct {
		id   string
		want *Config
		err  string // the whole text; lines are separate violations
	}{
		{id: "svcid", want: defaults(nil)},
		{id: "svcid/all", want: &Config{
			Labels:                 []string{"service-identity", "app.kubernetes.io/name"},
			MultiServiceNamespaces: []string{"monitoring", "kube-system"},
			KeepLabels:             []string{"app*", "team"},
			InternalNetworkSets:    []string{"corp-*", "payments/card-schemes"},
			Separator:              "|",
			Kubernetes: configoptional.Some(KubernetesConfig{
				AuthType:          AuthKubeConfig,
				Context:           "staging",
				NamespaceSelector: "goldtrail.io/multi-service=true",
				ForgetAfter:       time.Hour,
			}),
		}},
		{id: "svcid/null", want: defaults(nil)},
		{id: "svcid/kubernetes", want: defaults(func(c *Config) {
			c.Kubernetes = configoptional.Some(KubernetesConfig{AuthType: AuthServiceAccount, ForgetAfter: 10 * time.Minute})
		})},
		{id: "svcid/kubernetes_null", want: defaults(func(c *Config) {
			c.Kubernetes = configoptional.Some(KubernetesConfig{AuthType: AuthServiceAccount, ForgetAfter: 10 * time.Minute})
		})},
		{id: "svcid/bad_separator", err: `'separator' is "-": must be one of the characters /._@|~, which no namespace contains; leave it out for the default "/"`},
		{id: "svcid/bad_kubernetes", err: `kubernetes: 'auth_type' is "tls": must be serviceAccount, kubeConfig or none; leave it out for the default serviceAccount
'context' is "staging": needs 'auth_type' kubeConfig, which is the only one with contexts; remove it or change 'auth_type'
'namespace_selector' is "a in b": must be a label selector as kubectl takes it, such as goldtrail.io/multi-service=true: unable to parse requirement: found 'b' expected: '('
'forget_after' is 5m0s: must be at least 7m0s; the receiver hands flows on up to 6.5m after their window's start (11.5m where its 'flush_interval' is 300s), and their Pods must be known then; leave it out for the default 10m`},
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
		{id: "svcid/bad_networksets", err: `'internal_networksets[1]' is "networkset:corp-vpn": must be the name of a GlobalNetworkSet, such as corp-vpn, or namespace/name of a NetworkSet (a-z, 0-9, '-', '.', and the wildcards '*' and '?', which do not match '/'); mend or remove it
'internal_networksets[2]' is "a/b/c": must be the name of a GlobalNetworkSet, such as corp-vpn, or namespace/name of a NetworkSet (a-z, 0-9, '-', '.', and the wildcards '*' and '?', which do not match '/'); mend or remove it
'internal_networksets[3]' is "": must be the name of a GlobalNetworkSet, such as corp-vpn, or namespace/name of a NetworkSet (a-z, 0-9, '-', '.', and the wildcards '*' and '?', which do not match '/'); mend or remove it
'internal_networksets[4]' is "corp-vpn": must be named once, and 'internal_networksets[0]' names it; remove one of the two
'internal_networksets[5]' is "corp-[ab]": must be the name of a GlobalNetworkSet, such as corp-vpn, or namespace/name of a NetworkSet (a-z, 0-9, '-', '.', and the wildcards '*' and '?', which do not match '/'); mend or remove it`},
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

// defaults is the default configuration, changed.
func defaults(change func(*Config)) *Config {
	cfg := createDefaultConfig().(*Config)
	if change != nil {
		change(cfg)
	}
	return cfg
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
	for prefix, of := range map[string]reflect.Type{"": reflect.TypeFor[Config](), "kubernetes::": reflect.TypeFor[KubernetesConfig]()} {
		for i := range of.NumField() {
			if key := of.Field(i).Tag.Get("mapstructure"); key != "" && !strings.Contains(string(page), "| `"+prefix+key+"` | ") {
				assert.Fail(t, "a key is missing", "add %s to the table in README.md", prefix+key)
			}
		}
	}
}
