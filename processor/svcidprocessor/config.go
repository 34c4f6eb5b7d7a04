package svcidprocessor

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"go.opentelemetry.io/collector/component"

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

	// prevent unkeyed literal initialization
	_ struct{}
}

func createDefaultConfig() component.Config {
	return &Config{Labels: []string{"service-identity"}}
}

var (
	// dnsLabel is the form of a namespace's name (RFC 1123 label).
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	// labelKey is the form of a label's key: a DNS subdomain and '/', both optional,
	// and a name of at most 63 characters.
	labelKey = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
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
	return errors.Join(errs...)
}
