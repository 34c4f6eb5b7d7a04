package svcidprocessor

import (
	"path"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// basis indexes basisNames and the counters.
type basis uint8

const (
	basisNamespace basis = iota
	basisLabel
	basisWorkload
	basisService
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
	basisWorkload:   flowlog.BasisWorkload,
	basisService:    flowlog.BasisService,
	basisUnlabelled: flowlog.BasisUnlabelled,
	basisHost:       flowlog.BasisHost,
	basisNetworkSet: flowlog.BasisNetworkSet,
	basisNetwork:    flowlog.BasisNetwork,
	basisUnknown:    flowlog.BasisUnknown,
}

// reason indexes reasonNames and the counters.
type reason uint8

const (
	reasonNone reason = iota
	reasonMissing
	reasonMixed
	reasonUnknownWorkload
	reasonAPIUnavailable
	reasonCount
)

var reasonNames = [reasonCount]string{
	reasonMissing:         flowlog.ReasonMissing,
	reasonMixed:           flowlog.ReasonMixed,
	reasonUnknownWorkload: flowlog.ReasonUnknownWorkload,
	reasonAPIUnavailable:  flowlog.ReasonAPIUnavailable,
}

// unknownIdentity is the identity of an end that no rule covers.
const unknownIdentity = "?"

// Network sets are outside unless internal_networksets names them. A namespace has no ':',
// so that none is taken for either.
const (
	outsideNetworkSet = "networkset:"
	insideNetworkSet  = flowlog.InternalSet
)

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
	// The Kubernetes Service that was dialled, of destinations.
	serviceName      string
	serviceNamespace string
}

// verdict is what an end of a flow is found to be.
type verdict struct {
	identity string
	basis    basis
	reason   reason
}

var unknown = verdict{unknownIdentity, basisUnknown, reasonNone}

// rules decide identities. They are safe for concurrent use; whoever asks them holds the
// directory's lock for reading.
type rules struct {
	// labels are label keys in order of precedence.
	labels    []string
	separator string
	directory *directory
	// internal are globs of network sets; see Config.InternalNetworkSets.
	internal []string
}

func newRules(cfg *Config, d *directory) *rules {
	return &rules{labels: cfg.Labels, separator: cfg.Separator, directory: d, internal: cfg.InternalNetworkSets}
}

// identify returns the identity of e and what it rests on, and the number of label values
// that had to be passed over because they are no strings. Composed identities come from
// in.
func (r *rules) identify(e *endpoint, in *interner) (v verdict, malformed int64) {
	switch e.kind {
	case flowlog.TypeWorkload:
		v, malformed = r.identifyWorkload(e, in)
	case flowlog.TypeHost:
		v = identifyHost(e, in)
	case flowlog.TypeNetworkSet:
		v = r.identifyNetworkSet(e, in)
	case flowlog.TypeNetwork:
		v = identifyNetwork(e)
	default:
		v = unknown
	}
	// An address that Calico knows nothing of, or an end that no rule covers.
	if (v.basis == basisNetwork || v.basis == basisUnknown) && e.serviceName != "" && e.serviceNamespace != "" {
		v = r.identifyService(e, in)
	}
	return v, malformed
}

func identifyHost(e *endpoint, in *interner) verdict {
	if e.name == "" {
		return unknown
	}
	return verdict{in.join("host:", e.name), basisHost, reasonNone}
}

func (r *rules) identifyNetworkSet(e *endpoint, in *interner) verdict {
	if e.name == "" {
		return unknown
	}
	set := e.name
	if e.namespace != "" && !namedWithin(e.name, e.namespace) {
		set = in.join(e.namespace, "/", e.name)
	}
	if r.isInternal(set) {
		return verdict{in.join(insideNetworkSet, set), basisNetworkSet, reasonNone}
	}
	return verdict{in.join(outsideNetworkSet, set), basisNetworkSet, reasonNone}
}

// isInternal reports whether internal_networksets names the set. It is path.Match and not
// labelglob, because there `*` matches '/': "corp-*", meant for global sets, would take in
// every set of a namespace that is called so, and its owner could hide what is outside.
func (r *rules) isInternal(set string) bool {
	for _, glob := range r.internal {
		if matches, err := path.Match(glob, set); err == nil && matches { // Validate has seen the glob
			return true
		}
	}
	return false
}

func identifyNetwork(e *endpoint) verdict {
	switch e.name {
	case flowlog.NetworkPublic:
		return verdict{internetIdentity, basisNetwork, reasonNone}
	case flowlog.NetworkPrivate:
		return verdict{privateIdentity, basisNetwork, reasonNone}
	}
	return unknown
}

func (r *rules) identifyWorkload(e *endpoint, in *interner) (v verdict, malformed int64) {
	if e.namespace == "" {
		return unknown, 0
	}
	ns, multi := r.directory.namespaces[e.namespace]
	if !multi {
		return verdict{e.namespace, basisNamespace, r.singleService()}, 0
	}
	if e.hasLabels {
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
				return verdict{in.join(e.namespace, r.separator, value), basisLabel, reasonNone}, malformed
			}
		}
	}
	return ns.find(e.name), malformed
}

// identifyService names the Service that was dialled: as a workload of its namespace
// would be, with the Service's own name where there is more than one.
func (r *rules) identifyService(e *endpoint, in *interner) verdict {
	if _, multi := r.directory.namespaces[e.serviceNamespace]; multi {
		return verdict{in.join(e.serviceNamespace, r.separator, e.serviceName), basisService, reasonNone}
	}
	return verdict{e.serviceNamespace, basisService, r.singleService()}
}

// singleService is the reason why a namespace is taken for a single-Service one that
// might not be.
func (r *rules) singleService() reason {
	if r.directory.complete {
		return reasonNone
	}
	return reasonAPIUnavailable
}

// namedWithin reports whether a network set's name already starts with its namespace:
// Calico names a NetworkSet "namespace/name" and a GlobalNetworkSet by its bare name.
func namedWithin(name, namespace string) bool {
	return len(name) > len(namespace)+1 && name[len(namespace)] == '/' && strings.HasPrefix(name, namespace)
}
