package svcidprocessor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/goldtrail/goldtrail/processor/svcidprocessor/internal/metadata"
)

// contact knows which requests to the Kubernetes API fail, and tells it once for all of
// them. Safe for concurrent use.
type contact struct {
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	host      component.Host

	// mu guards what is below.
	mu sync.Mutex
	// failing has the reflectors whose last request failed.
	failing map[*listWatch]failure
	// forbidden are the resources that have been forbidden since nothing was: while rights
	// come back, reflectors recover one after the other, and that is no news.
	forbidden map[schema.GroupResource]struct{}
	// seen is the trouble at the last report, and told the one that was logged.
	seen, told string
}

// failure is why a reflector's last request failed.
type failure struct {
	err error
	// forbidden counts the requests in a row that RBAC forbade. An API server that
	// starts forbids everything until it has read the roles.
	forbidden int
}

func newContact(set component.TelemetrySettings, telemetry *metadata.TelemetryBuilder, host component.Host) *contact {
	return &contact{logger: set.Logger, telemetry: telemetry, host: host, failing: map[*listWatch]failure{}, forbidden: map[schema.GroupResource]struct{}{}}
}

func (c *contact) failed(ctx context.Context, l *listWatch, err error) {
	c.telemetry.SvcidKubernetesFailures.Add(ctx, 1,
		metric.WithAttributes(attribute.String("resource", l.resource.GroupResource().String())))
	if l.feed != nil {
		l.feed.failed()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := failure{err: err}
	if apierrors.IsForbidden(err) {
		f.forbidden = c.failing[l].forbidden + 1
	}
	c.failing[l] = f
}

func (c *contact) succeeded(l *listWatch) {
	if l.feed != nil {
		l.feed.reached()
	}
	c.forget(l)
}

// forget is for reflectors that have been stopped.
func (c *contact) forget(l *listWatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failing, l)
}

// report logs what is the matter, and sets the component's status, where that has changed
// and stayed so since the last report: reflectors fail one after the other, and one line
// is to name them all.
func (c *contact) report() {
	c.mu.Lock()
	defer c.mu.Unlock()
	trouble, err, ok := c.troubleLocked()
	if !ok {
		return
	}
	settled := trouble == c.seen
	c.seen = trouble
	if !settled || trouble == c.told {
		return
	}
	c.told = trouble
	if trouble == "" {
		c.logger.Info("The Kubernetes API answers")
		componentstatus.ReportStatus(c.host, componentstatus.NewEvent(componentstatus.StatusOK))
		return
	}
	c.logger.Warn(trouble, zap.Error(err))
	componentstatus.ReportStatus(c.host, componentstatus.NewRecoverableErrorEvent(fmt.Errorf("%s: %w", trouble, err)))
}

// What is the matter and what one can do about it. It stays the same as long as the
// trouble does, so that it is told once; the error, which has ports in it, does not.
const (
	consequence = "; until then identities rest on the flows and on what is known already"

	troubleCertificate = "The Kubernetes API's certificate cannot be verified: see that the CA of the kubeconfig or of the ServiceAccount is the API server's, it is read again" + consequence
	troubleCredentials = "The Kubernetes API does not know us: renew the token or the client certificate of the kubeconfig or of the ServiceAccount, it is read again" + consequence
	troubleForbidden   = "The Kubernetes API forbids look-ups: add to the ClusterRole (deploy/kubernetes/rbac.yaml) %s" + consequence
	troubleOther       = "The Kubernetes API cannot be read; it is tried again" + consequence
)

// troubleLocked returns what is the matter and an error that shows it, "" if nothing is;
// false if that cannot be said yet.
func (c *contact) troubleLocked() (trouble string, err error, ok bool) { //nolint:revive // the error is no failure of this function
	undecided := false
	var certificate, credentials, other error
	forbidden := map[schema.GroupResource]error{}
	for l, f := range c.failing {
		err := f.err
		var verification *tls.CertificateVerificationError
		switch {
		case errors.As(err, &verification):
			certificate = err
		case apierrors.IsUnauthorized(err):
			credentials = err
		case f.forbidden == 1:
			undecided = true // what it is worth shows the next time
		case f.forbidden > 1:
			forbidden[l.resource.GroupResource()] = err
		default:
			other = err
		}
	}
	switch {
	case certificate != nil:
		return troubleCertificate, certificate, true
	case credentials != nil:
		return troubleCredentials, credentials, true
	case other != nil:
		return troubleOther, other, true
	case len(forbidden) > 0:
		for _, err := range forbidden {
			other = err
		}
		if undecided { // more of them, perhaps
			return "", nil, false
		}
		for resource := range forbidden {
			c.forbidden[resource] = struct{}{}
		}
		return fmt.Sprintf(troubleForbidden, policyRules(slices.Collect(maps.Keys(c.forbidden)))), other, true
	}
	clear(c.forbidden)
	return "", nil, !undecided
}

// policyRules writes the RBAC rules for those resources, as they stand in a manifest.
func policyRules(resources []schema.GroupResource) string {
	groups := map[string][]string{}
	for _, r := range resources {
		groups[r.Group] = append(groups[r.Group], r.Resource)
	}
	var rules []string
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		slices.Sort(groups[group])
		rules = append(rules, fmt.Sprintf("{apiGroups: [%q], resources: [%s], verbs: [get, list, watch]}",
			group, strings.Join(groups[group], ", ")))
	}
	return strings.Join(rules, ", ")
}
