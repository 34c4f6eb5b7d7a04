package svcidprocessor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/goldtrail/goldtrail/processor/svcidprocessor/internal/metadata"
	"github.com/goldtrail/goldtrail/processor/svcidprocessor/internal/metadatatest"
)

// statusHost notes the statuses that are reported. Safe for concurrent use.
type statusHost struct {
	component.Host
	mu       sync.Mutex // guards statuses
	statuses []componentstatus.Status
}

func (h *statusHost) Report(event *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.statuses = append(h.statuses, event.Status())
}

func (h *statusHost) seen() []componentstatus.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.statuses)
}

// contactRig is a contact whose words are noted.
type contactRig struct {
	*contact
	host      *statusHost
	logs      *observer.ObservedLogs
	telemetry *componenttest.Telemetry
}

func newContactRig(t *testing.T) *contactRig {
	t.Helper()
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.WithoutCancel(t.Context()))) })
	set := telemetry.NewTelemetrySettings()
	core, logs := observer.New(zap.InfoLevel)
	set.Logger = zap.New(core)
	builder, err := metadata.NewTelemetryBuilder(set)
	require.NoError(t, err)
	host := &statusHost{Host: componenttest.NewNopHost()}
	return &contactRig{contact: newContact(set, builder, host), host: host, logs: logs, telemetry: telemetry}
}

// said reports until it is settled, and returns what was logged.
func (r *contactRig) said() []string {
	r.report()
	r.report()
	r.report()
	var lines []string
	for _, entry := range r.logs.TakeAll() {
		lines = append(lines, entry.Level.String()+" "+entry.Message)
	}
	return lines
}

func forbidden(r schema.GroupVersionResource) error {
	return apierrors.NewForbidden(r.GroupResource(), "", errors.New(`User "svcid" cannot watch`))
}

var errRefused = errors.New("dial tcp 127.0.0.1:6443: connect: connection errRefused")

func TestTroubleIsToldOnce(t *testing.T) {
	r := newContactRig(t)
	var reflectors []*listWatch
	for _, namespace := range []string{"monitoring", "dbaas"} {
		for _, resource := range workloadResources {
			reflectors = append(reflectors, &listWatch{resource: resource, namespace: namespace})
		}
	}
	failed := func(err func(*listWatch) error) {
		for _, l := range reflectors {
			r.failed(t.Context(), l, err(l))
		}
	}
	assert.Empty(t, r.said(), "nothing is the matter")

	failed(func(*listWatch) error { return errRefused })
	assert.Equal(t, []string{"warn The Kubernetes API cannot be read; it is tried again; until then identities rest on the flows and on what is known already"}, r.said())
	failed(func(*listWatch) error { return fmt.Errorf("from another port: %w", errRefused) })
	assert.Empty(t, r.said(), "told already")

	failed(func(l *listWatch) error { return forbidden(l.resource) })
	assert.Empty(t, r.said(), "an API server that starts forbids everything at first")
	failed(func(l *listWatch) error { return forbidden(l.resource) })
	assert.Equal(t, []string{`warn The Kubernetes API forbids look-ups: add to the ClusterRole (deploy/kubernetes/rbac.yaml) {apiGroups: [""], resources: [pods], verbs: [get, list, watch]}, {apiGroups: ["apps"], resources: [controllerrevisions, replicasets], verbs: [get, list, watch]}; until then identities rest on the flows and on what is known already`}, r.said())

	for _, l := range reflectors[1:] {
		r.succeeded(l)
	}
	assert.Empty(t, r.said(), "that some rights are back is no news")
	r.forget(reflectors[0])
	assert.Equal(t, []string{"info The Kubernetes API answers"}, r.said())

	r.failed(t.Context(), reflectors[0], fmt.Errorf("watch: %w", &tls.CertificateVerificationError{Err: errors.New("signed by unknown authority")}))
	assert.Contains(t, r.said()[0], "certificate cannot be verified: see that the CA")
	r.failed(t.Context(), reflectors[0], apierrors.NewUnauthorized("expired"))
	assert.Contains(t, r.said()[0], "does not know us: renew the token")
	r.succeeded(reflectors[0])
	assert.Len(t, r.said(), 1)

	assert.Equal(t, []componentstatus.Status{
		componentstatus.StatusRecoverableError, // refused
		componentstatus.StatusRecoverableError, // forbidden
		componentstatus.StatusOK,
		componentstatus.StatusRecoverableError, // certificate
		componentstatus.StatusRecoverableError, // credentials
		componentstatus.StatusOK,
	}, r.host.seen())
	failures := func(resource string, n int64) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{Value: n, Attributes: attribute.NewSet(attribute.String("resource", resource))}
	}
	metadatatest.AssertEqualSvcidKubernetesFailures(t, r.telemetry, []metricdata.DataPoint[int64]{
		failures("pods", 10), failures("replicasets.apps", 8), failures("controllerrevisions.apps", 8),
	}, metricdatatest.IgnoreTimestamp())
}

// Reflectors fail one after the other: what has not stayed the same for two reports is not
// told.
func TestTroubleHasToSettle(t *testing.T) {
	r := newContactRig(t)
	l := &listWatch{resource: podResource}
	r.failed(t.Context(), l, errRefused)
	r.report()
	r.succeeded(l)
	assert.Empty(t, r.said())
	assert.Empty(t, r.host.seen())
}

// The shipped ClusterRole grants what is asked for, and nothing else: no verb that writes.
func TestShippedRoleIsWhatIsRead(t *testing.T) {
	file, err := os.Open("../../deploy/kubernetes/rbac.yaml")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	var granted []string
	decoder := yaml.NewDecoder(file)
	for range 3 {
		var o struct {
			Kind  string
			Rules []struct {
				APIGroups        []string `yaml:"apiGroups"`
				Resources, Verbs []string
			}
		}
		require.NoError(t, decoder.Decode(&o))
		for _, rule := range o.Rules {
			assert.Equal(t, []string{"get", "list", "watch"}, rule.Verbs)
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					granted = append(granted, schema.GroupResource{Group: group, Resource: resource}.String())
				}
			}
		}
	}
	read := []string{namespaceResource.GroupResource().String()}
	for _, resource := range workloadResources {
		read = append(read, resource.GroupResource().String())
	}
	assert.ElementsMatch(t, read, granted)
	page, err := os.ReadFile("metadata.yaml")
	require.NoError(t, err)
	for _, resource := range read {
		assert.Contains(t, string(page), strings.TrimSpace(resource), "the attribute `resource` in metadata.yaml")
	}
}
