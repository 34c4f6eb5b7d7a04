package goldmanereceiver

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// traceCacheSize bounds the number of traces kept as strings. A cluster has a few
// hundred; past the bound the cache starts anew.
const traceCacheSize = 4096

// traces renders policy traces in one canonical form: sorted by policy_index, since
// nodes before Calico 3.31.5 send them in random order; ends of tiers resolved to
// the policy that triggered them. Equal traces share one string. Not safe for
// concurrent use.
type traces struct {
	buf    []byte
	cached map[string]string
	odd    *oddities
}

// render returns the hits as a trace, "" for none. It sorts hits in place.
func (t *traces) render(hits []*goldmane.PolicyHit) string {
	if len(hits) == 0 {
		return ""
	}
	hits = t.withoutNil(hits)
	if !slices.IsSortedFunc(hits, compareHits) {
		slices.SortFunc(hits, compareHits)
	}
	b := t.buf[:0]
	for i, hit := range hits {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.appendHit(b, hit)
	}
	t.buf = b
	if s, ok := t.cached[string(b)]; ok {
		return s
	}
	if t.cached == nil || len(t.cached) >= traceCacheSize {
		t.cached = make(map[string]string)
	}
	s := string(b)
	t.cached[s] = s
	return s
}

func (t *traces) withoutNil(hits []*goldmane.PolicyHit) []*goldmane.PolicyHit {
	if !slices.Contains(hits, nil) {
		return hits
	}
	whole := hits[:0]
	for _, hit := range hits {
		if hit == nil {
			t.odd.nilHits++
			continue
		}
		whole = append(whole, hit)
	}
	return whole
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

func (t *traces) appendHit(b []byte, hit *goldmane.PolicyHit) []byte {
	h := flowlog.Hit{
		Kind:      t.kind(hit.Kind),
		Tier:      normal(hit.Tier),
		Namespace: normal(hit.Namespace),
		Name:      normal(hit.Name),
		Rule:      hit.RuleIndex,
		Action:    t.odd.action(hit.Action),
	}
	if hit.Kind == goldmane.PolicyKind_EndOfTier {
		h.Rule = flowlog.RuleEndOfTier
		if by := hit.Trigger; by != nil {
			h.Kind = t.kind(by.Kind)
			h.Tier = cmp.Or(normal(by.Tier), h.Tier)
			h.Namespace = normal(by.Namespace)
			h.Name = normal(by.Name)
		}
	}
	return flowlog.AppendHit(b, &h)
}

// kind returns the name of a policy kind; a number that has none stays a number.
func (t *traces) kind(kind goldmane.PolicyKind) string {
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
		return t.odd.number("kind-", int32(kind))
	}
}

// oddities counts what was odd in flows that became records all the same.
type oddities struct {
	unknownEnums, noPolicies, nilHits, labels int64
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
