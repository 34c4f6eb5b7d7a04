package svcidprocessor

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// Config configures the processor. The zero value is not valid: see
// createDefaultConfig.
type Config struct {
	// Labels are the keys of the endpoint labels that tell the Services of a
	// multi-Service namespace apart. The first that an endpoint has, and that is not
	// empty, wins.
	Labels []string `mapstructure:"labels"`
	// MultiServiceNamespaces are the namespaces that hold more than one Service. In
	// every other namespace the namespace is the identity.
	MultiServiceNamespaces []string `mapstructure:"multi_service_namespaces"`
	// KeepLabels are globs of the label keys that stay on the record once the identity
	// is read: `*` matches any characters, '/' too, and `?` one. None: both labels
	// attributes are removed.
	KeepLabels []string `mapstructure:"keep_labels"`
	// InternalNetworkSets are globs of the network sets that are no outside: "name" of
	// global ones, "namespace/name" of the others. `*` matches any characters but '/', so
	// that no namespace's own sets match what was meant for global ones, and `?` one.
	InternalNetworkSets []string `mapstructure:"internal_networksets"`
	// Separator stands between the namespace and the Service in an identity.
	Separator string `mapstructure:"separator"`
	// Kubernetes lets the processor look up what a flow does not say. Absent: the
	// Kubernetes API is not used at all.
	Kubernetes configoptional.Optional[KubernetesConfig] `mapstructure:"kubernetes"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// AuthType says how the processor authenticates to the Kubernetes API. The values are
// those of the Collector's other Kubernetes components.
type AuthType string

const (
	// AuthServiceAccount is the Pod's own ServiceAccount.
	AuthServiceAccount AuthType = "serviceAccount"
	// AuthKubeConfig is the file that $KUBECONFIG names, or ~/.kube/config.
	AuthKubeConfig AuthType = "kubeConfig"
	// AuthNone is plain HTTP to $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT, as
	// `kubectl proxy` serves it.
	AuthNone AuthType = "none"
)

// KubernetesConfig configures the look-ups in the Kubernetes API. They are get, list and
// watch of metadata, in multi-Service namespaces only, and never a write.
type KubernetesConfig struct {
	AuthType AuthType `mapstructure:"auth_type"`
	// Context is the context of the kubeconfig to use; empty is its current one.
	Context string `mapstructure:"context"`
	// NamespaceSelector is a label selector. The Namespaces that it matches are
	// multi-Service namespaces too. Empty: only those that are listed are.
	NamespaceSelector string `mapstructure:"namespace_selector"`
	// ForgetAfter is how long a Pod that is gone counts as if it were there. Flows reach
	// the processor 75 s after their window's start, and late ones after six and a half
	// minutes: see minForgetAfter.
	ForgetAfter time.Duration `mapstructure:"forget_after"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// minForgetAfter is how late flows come with the receiver's defaults, and half a minute
// for listing them: what is withheld is handed on when the last window that could decide
// it has been listed again, which is recheck_delay (6m) and two windows after its own
// window's start. With a flush_interval of 300s it is 22 windows, 11.5 minutes; the
// processor does not know the receiver's settings.
const minForgetAfter = 7 * time.Minute

func createDefaultConfig() component.Config {
	return &Config{
		Labels:    []string{"service-identity"},
		Separator: "/",
		Kubernetes: configoptional.Default(KubernetesConfig{
			AuthType:    AuthServiceAccount,
			ForgetAfter: 10 * time.Minute,
		}),
	}
}

// separators are the characters that no namespace contains, so that an identity can be
// taken apart, without ':', which would make namespace "host" look like a host.
const separators = "/._@|~"

var (
	// dnsLabel is the form of a namespace's name (RFC 1123 label).
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	// labelKey is the form of a label's key: a DNS subdomain and '/', both optional,
	// and a name of at most 63 characters.
	labelKey = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	// networkSetGlob is the form of a glob of network sets.
	networkSetGlob = regexp.MustCompile(`^([-a-z0-9*?]+/)?[-a-z0-9.*?]+$`)
)

// Validate returns every violation joined; each names the key, the value, the rule
// and the remedy.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Labels) == 0 {
		errs = append(errs, errors.New(
			"'labels' is []: must name at least one label key; leave it out for the default [service-identity]"))
	}
	for i, key := range c.Labels {
		if !labelKey.MatchString(key) {
			errs = append(errs, fmt.Errorf(
				"'labels[%d]' is %q: must be a label key as Kubernetes takes it, such as service-identity or app.kubernetes.io/name; mend or remove it", i, key))
		} else if first := slices.Index(c.Labels, key); first < i {
			errs = append(errs, fmt.Errorf(
				"'labels[%d]' is %q: must be named once, and 'labels[%d]' names it; remove one of the two", i, key, first))
		}
	}
	for i, name := range c.MultiServiceNamespaces {
		if !dnsLabel.MatchString(name) {
			errs = append(errs, fmt.Errorf(
				"'multi_service_namespaces[%d]' is %q: must be a namespace's whole name (a-z, 0-9 and '-', at most 63 characters, no pattern); mend or remove it", i, name))
		} else if first := slices.Index(c.MultiServiceNamespaces, name); first < i {
			errs = append(errs, fmt.Errorf(
				"'multi_service_namespaces[%d]' is %q: must be named once, and 'multi_service_namespaces[%d]' names it; remove one of the two", i, name, first))
		}
	}
	for i, glob := range c.KeepLabels {
		if err := labelglob.Valid(glob); err != nil {
			errs = append(errs, fmt.Errorf("'keep_labels[%d]' is %q: %w", i, glob, err))
		}
	}
	for i, glob := range c.InternalNetworkSets {
		if !networkSetGlob.MatchString(glob) {
			errs = append(errs, fmt.Errorf(
				"'internal_networksets[%d]' is %q: must be the name of a GlobalNetworkSet, such as corp-vpn, or namespace/name of a NetworkSet (a-z, 0-9, '-', '.', and the wildcards '*' and '?', which do not match '/'); mend or remove it", i, glob))
		} else if first := slices.Index(c.InternalNetworkSets, glob); first < i {
			errs = append(errs, fmt.Errorf(
				"'internal_networksets[%d]' is %q: must be named once, and 'internal_networksets[%d]' names it; remove one of the two", i, glob, first))
		}
	}
	if len(c.Separator) != 1 || !strings.Contains(separators, c.Separator) {
		errs = append(errs, fmt.Errorf(
			"'separator' is %q: must be one of the characters %s, which no namespace contains; leave it out for the default \"/\"", c.Separator, separators))
	}
	return errors.Join(errs...)
}

// Validate returns every violation joined. The Collector calls it, and puts the key
// `kubernetes` in front.
func (c *KubernetesConfig) Validate() error {
	var errs []error
	switch c.AuthType {
	case AuthServiceAccount, AuthKubeConfig, AuthNone:
	default:
		errs = append(errs, fmt.Errorf(
			"'auth_type' is %q: must be serviceAccount, kubeConfig or none; leave it out for the default serviceAccount", c.AuthType))
	}
	if c.Context != "" && c.AuthType != AuthKubeConfig {
		errs = append(errs, fmt.Errorf(
			"'context' is %q: needs 'auth_type' kubeConfig, which is the only one with contexts; remove it or change 'auth_type'", c.Context))
	}
	if _, err := labels.Parse(c.NamespaceSelector); err != nil {
		errs = append(errs, fmt.Errorf(
			"'namespace_selector' is %q: must be a label selector as kubectl takes it, such as goldtrail.io/multi-service=true: %w", c.NamespaceSelector, err))
	}
	if c.ForgetAfter < minForgetAfter {
		errs = append(errs, fmt.Errorf(
			"'forget_after' is %v: must be at least %v; the receiver hands flows on up to 6.5m after their window's start (11.5m where its 'flush_interval' is 300s), and their Pods must be known then; leave it out for the default 10m", c.ForgetAfter, minForgetAfter))
	}
	return errors.Join(errs...)
}
