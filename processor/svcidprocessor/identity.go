package svcidprocessor

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// basis indexes basisNames and the counters.
type basis uint8

const (
	basisNamespace basis = iota
	basisLabel
	basisUnlabelled
	basisHost
	basisNetworkSet
	basisNetwork
	basisUnknown
	basisCount
)

var basisNames = [basisCount]string{
	basisNamespace:  flowlog.BasisNamespace,
	basisLabel:      flowlog.BasisLabel,
	basisUnlabelled: flowlog.BasisUnlabelled,
	basisHost:       flowlog.BasisHost,
	basisNetworkSet: flowlog.BasisNetworkSet,
	basisNetwork:    flowlog.BasisNetwork,
	basisUnknown:    flowlog.BasisUnknown,
}

// unknownIdentity is the identity of an end that no rule covers.
const unknownIdentity = "?"

// Identities of endpoints of type network.
const (
	internetIdentity = "internet"
	privateIdentity  = "private"
)

// endpoint is what a record says about one of its ends. What is absent or malformed is
// empty.
type endpoint struct {
	kind      string // a flowlog Type value
	name      string
	namespace string
	labels    pcommon.Map // valid where hasLabels
	hasLabels bool
}

// rules decide identities. They are immutable, and safe for concurrent use.
type rules struct {
	// labels are label keys in order of precedence.
	labels []string
	// unlabelled maps each multi-Service namespace to its identity without a label.
	unlabelled map[string]string
}

func newRules(cfg *Config) *rules {
	r := &rules{
		labels:     cfg.Labels,
		unlabelled: make(map[string]string, len(cfg.MultiServiceNamespaces)),
	}
	for _, ns := range cfg.MultiServiceNamespaces {
		r.unlabelled[ns] = ns + "/" + unknownIdentity
	}
	return r
}

// identify returns the identity of e, its basis, and the number of label values that
// had to be passed over because they are no strings. Composed identities come from in.
func (r *rules) identify(e *endpoint, in *interner) (identity string, b basis, malformed int64) {
	switch e.kind {
	case flowlog.TypeWorkload:
		return r.identifyWorkload(e, in)
	case flowlog.TypeHost:
		if e.name != "" {
			return in.join("host:", e.name), basisHost, 0
		}
	case flowlog.TypeNetworkSet:
		switch {
		case e.name == "":
		case e.namespace == "" || namedWithin(e.name, e.namespace):
			return in.join("networkset:", e.name), basisNetworkSet, 0
		default:
			return in.join("networkset:", e.namespace, "/", e.name), basisNetworkSet, 0
		}
	case flowlog.TypeNetwork:
		switch e.name {
		case flowlog.NetworkPublic:
			return internetIdentity, basisNetwork, 0
		case flowlog.NetworkPrivate:
			return privateIdentity, basisNetwork, 0
		}
	}
	return unknownIdentity, basisUnknown, 0
}

func (r *rules) identifyWorkload(e *endpoint, in *interner) (identity string, b basis, malformed int64) {
	if e.namespace == "" {
		return unknownIdentity, basisUnknown, 0
	}
	unlabelled, multi := r.unlabelled[e.namespace]
	if !multi {
		return e.namespace, basisNamespace, 0
	}
	if !e.hasLabels {
		return unlabelled, basisUnlabelled, 0
	}
	for _, key := range r.labels {
		v, ok := e.labels.Get(key)
		if !ok {
			continue
		}
		if v.Type() != pcommon.ValueTypeStr {
			malformed++
			continue
		}
		if value := v.Str(); value != "" {
			return in.join(e.namespace, "/", value), basisLabel, malformed
		}
	}
	return unlabelled, basisUnlabelled, malformed
}

// namedWithin reports whether a network set's name already starts with its namespace:
// Calico names a NetworkSet "namespace/name" and a GlobalNetworkSet by its bare name.
func namedWithin(name, namespace string) bool {
	return len(name) > len(namespace)+1 && name[len(namespace)] == '/' && strings.HasPrefix(name, namespace)
}
