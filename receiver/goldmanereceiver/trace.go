package goldmanereceiver

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// traceCacheSize bounds the number of policy traces that are kept decoded. A cluster
// has some hundreds, and as many again for each order of policies before Calico
// 3.31.5; past the bound the cache starts anew.
const traceCacheSize = 8192

// trace is a policy trace in canonical form: sorted by policy_index, ends of tiers
// resolved to the policy that triggered them.
type trace struct {
	enforced string
	// pending is "" where it equals enforced.
	pending string
	// staged: a staged policy is in the enforced trace.
	staged bool
	// odd is what was odd in it, to be counted for every flow that has it.
	odd oddities
}

// traces decodes policy traces, each encoding once. Not safe for concurrent use.
type traces struct {
	buf    []byte
	cached map[string]*trace
	odd    *oddities
}

// of returns the trace of an encoded goldmane.PolicyTrace.
func (t *traces) of(encoded string) *trace {
	decoded, ok := t.cached[encoded]
	if !ok {
		decoded = t.decode(encoded)
		if t.cached == nil || len(t.cached) >= traceCacheSize {
			t.cached = make(map[string]*trace)
		}
		t.cached[strings.Clone(encoded)] = decoded // a clone, so that the answer is not kept
	}
	t.odd.add(&decoded.odd)
	return decoded
}

func (t *traces) decode(encoded string) *trace {
	var message goldmane.PolicyTrace
	decoded := &trace{}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(encoded), &message); err != nil {
		decoded.odd.badPolicies++
		return decoded
	}
	decoded.enforced = t.render(message.EnforcedPolicies, &decoded.odd)
	if decoded.pending = t.render(message.PendingPolicies, &decoded.odd); decoded.pending == decoded.enforced {
		decoded.pending = ""
	}
	decoded.staged = flowlog.HasStagedHit(decoded.enforced)
	return decoded
}

// render writes hits as a trace, "" for none. It sorts hits in place: nodes before
// Calico 3.31.5 send them in random order.
func (t *traces) render(hits []*goldmane.PolicyHit, odd *oddities) string {
	hits = slices.DeleteFunc(hits, func(hit *goldmane.PolicyHit) bool {
		empty := proto.Size(hit) == 0
		if empty {
			odd.emptyHits++
		}
		return empty
	})
	slices.SortFunc(hits, compareHits)
	b := t.buf[:0]
	for i, hit := range hits {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendHit(b, hit, odd)
	}
	t.buf = b
	return string(b)
}

// compareHits orders by evaluation; the rest makes equal indices deterministic.
func compareHits(a, b *goldmane.PolicyHit) int {
	return cmp.Or(
		cmp.Compare(a.PolicyIndex, b.PolicyIndex),
		cmp.Compare(a.Tier, b.Tier),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.RuleIndex, b.RuleIndex),
		cmp.Compare(a.Action, b.Action),
	)
}

func appendHit(b []byte, hit *goldmane.PolicyHit, odd *oddities) []byte {
	h := flowlog.Hit{
		Kind:      odd.kind(hit.Kind),
		Tier:      normal(hit.Tier),
		Namespace: normal(hit.Namespace),
		Name:      normal(hit.Name),
		Rule:      hit.RuleIndex,
		Action:    odd.action(hit.Action),
	}
	if hit.Kind == goldmane.PolicyKind_EndOfTier {
		h.Rule = flowlog.RuleEndOfTier
		if by := hit.Trigger; by != nil {
			h.Kind = odd.kind(by.Kind)
			h.Tier = cmp.Or(normal(by.Tier), h.Tier)
			h.Namespace = normal(by.Namespace)
			h.Name = normal(by.Name)
		}
	}
	return flowlog.AppendHit(b, &h)
}

// kind returns the name of a policy kind; a number that has none stays a number.
func (o *oddities) kind(kind goldmane.PolicyKind) string {
	switch kind {
	case goldmane.PolicyKind_CalicoNetworkPolicy:
		return flowlog.KindCalicoNetworkPolicy
	case goldmane.PolicyKind_GlobalNetworkPolicy:
		return flowlog.KindGlobalNetworkPolicy
	case goldmane.PolicyKind_StagedNetworkPolicy:
		return flowlog.KindStagedNetworkPolicy
	case goldmane.PolicyKind_StagedGlobalNetworkPolicy:
		return flowlog.KindStagedGlobalNetworkPolicy
	case goldmane.PolicyKind_StagedKubernetesNetworkPolicy:
		return flowlog.KindStagedKubernetesNetworkPolicy
	case goldmane.PolicyKind_NetworkPolicy:
		return flowlog.KindNetworkPolicy
	case goldmane.PolicyKind_AdminNetworkPolicy:
		return flowlog.KindAdminNetworkPolicy
	case goldmane.PolicyKind_BaselineAdminNetworkPolicy:
		return flowlog.KindBaselineAdminNetworkPolicy
	case goldmane.PolicyKind_Profile:
		return flowlog.KindProfile
	case goldmane.PolicyKind_EndOfTier:
		return flowlog.KindEndOfTier
	case goldmane.PolicyKind_ClusterNetworkPolicy:
		return flowlog.KindClusterNetworkPolicy
	default:
		return o.number("kind-", int32(kind))
	}
}

// oddities counts what was odd in flows that became records all the same.
type oddities struct {
	unknownEnums, noPolicies, badPolicies, emptyHits, stagedEnforced, labels, badText int64
}

func (o *oddities) add(other *oddities) {
	o.unknownEnums += other.unknownEnums
	o.badPolicies += other.badPolicies
	o.emptyHits += other.emptyHits
}

func (o *oddities) number(prefix string, n int32) string {
	o.unknownEnums++
	return prefix + strconv.Itoa(int(n))
}

// action returns the name of an action.
func (o *oddities) action(action goldmane.Action) string {
	switch action {
	case goldmane.Action_Allow:
		return flowlog.ActionAllow
	case goldmane.Action_Deny:
		return flowlog.ActionDeny
	case goldmane.Action_Pass:
		return flowlog.ActionPass
	default:
		return o.number("action-", int32(action))
	}
}

// reporter returns the name of a reporter.
func (o *oddities) reporter(reporter goldmane.Reporter) string {
	switch reporter {
	case goldmane.Reporter_Src:
		return flowlog.ReporterSource
	case goldmane.Reporter_Dst:
		return flowlog.ReporterDestination
	default:
		return o.number("reporter-", int32(reporter))
	}
}

// endpointType returns the name of an endpoint type.
func (o *oddities) endpointType(endpoint goldmane.EndpointType) string {
	switch endpoint {
	case goldmane.EndpointType_WorkloadEndpoint:
		return flowlog.TypeWorkload
	case goldmane.EndpointType_HostEndpoint:
		return flowlog.TypeHost
	case goldmane.EndpointType_NetworkSet:
		return flowlog.TypeNetworkSet
	case goldmane.EndpointType_Network:
		return flowlog.TypeNetwork
	default:
		return o.number("type-", int32(endpoint))
	}
}
