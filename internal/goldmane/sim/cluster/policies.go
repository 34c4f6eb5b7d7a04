package cluster

import (
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// trace collects the hits of one direction, in the order of evaluation.
type trace []*goldmane.PolicyHit

func (t *trace) hit(kind goldmane.PolicyKind, tier, ns, name string, action goldmane.Action, rule int64) {
	*t = append(*t, &goldmane.PolicyHit{
		Kind: kind, Tier: tier, Namespace: ns, Name: name, Action: action,
		PolicyIndex: int64(len(*t)), RuleIndex: rule,
	})
}

// endOfTier is what a tier does with an endpoint that one of its policies selects and
// none of its rules matches. The hit has no name; the policy is in the trigger.
func (t *trace) endOfTier(kind goldmane.PolicyKind, tier, ns, name string, action goldmane.Action) {
	*t = append(*t, &goldmane.PolicyHit{
		Kind: goldmane.PolicyKind_EndOfTier, Tier: tier, Action: action,
		PolicyIndex: int64(len(*t)), RuleIndex: -1,
		Trigger: &goldmane.PolicyHit{Kind: kind, Tier: tier, Namespace: ns, Name: name},
	})
}

func (t *trace) profile(ns string) {
	t.hit(goldmane.PolicyKind_Profile, "", "", "kns."+ns, goldmane.Action_Allow, 0)
}

// policies is what a node sends with a flow that one of its workloads takes part in.
func (e *edge) policies(reporter goldmane.Reporter, action goldmane.Action, version int) *goldmane.PolicyTrace {
	denied := action == goldmane.Action_Deny
	var enforced, pending trace
	if reporter == goldmane.Reporter_Src {
		enforced = e.egressTrace(denied, false)
		pending = e.egressTrace(denied, true)
	} else {
		enforced = e.ingressTrace(denied, version, false)
		pending = e.ingressTrace(denied, version, true)
	}
	return &goldmane.PolicyTrace{EnforcedPolicies: enforced, PendingPolicies: pending}
}

// egressTrace is the source's node's view; with staged policies in force if staged.
func (e *edge) egressTrace(denied, staged bool) trace {
	var t trace
	ns := e.src.workload.namespace
	dns := e.dst.is("kube-system/coredns")
	if ns.guard == strict {
		t.hit(goldmane.PolicyKind_GlobalNetworkPolicy, "security", "", "quarantine", goldmane.Action_Pass, 1)
		if dns {
			t.hit(goldmane.PolicyKind_GlobalNetworkPolicy, "platform", "", "cluster-dns", goldmane.Action_Allow, 0)
			return t
		}
		t.endOfTier(goldmane.PolicyKind_GlobalNetworkPolicy, "platform", "", "cluster-dns", goldmane.Action_Pass)
		if denied {
			t.endOfTier(goldmane.PolicyKind_NetworkPolicy, "default", ns.name, "default-deny", goldmane.Action_Deny)
			return t
		}
		t.hit(goldmane.PolicyKind_NetworkPolicy, "default", ns.name, "egress", goldmane.Action_Allow, int64(hash(0, e.id)%6))
		return t
	}
	if staged && ns.name == "analytics" && e.dst.name == public {
		t.hit(goldmane.PolicyKind_StagedGlobalNetworkPolicy, "platform", "", "no-internet", goldmane.Action_Deny, 0)
		return t
	}
	t.profile(ns.name)
	return t
}

// ingressTrace is the destination's node's view.
func (e *edge) ingressTrace(denied bool, version int, staged bool) trace {
	var t trace
	ns := e.dst.workload.namespace
	clients := "clients"
	if version > 0 {
		clients = "clients-new"
	}
	if e.by != "" {
		t.hit(goldmane.PolicyKind_GlobalNetworkPolicy, "security", "", e.by, goldmane.Action_Deny, 0)
		return t
	}
	if ns.guard == strict {
		t.hit(goldmane.PolicyKind_GlobalNetworkPolicy, "security", "", "quarantine", goldmane.Action_Pass, 0)
	}
	if ns.guard != open {
		if e.src.is("monitoring/prometheus") {
			t.hit(goldmane.PolicyKind_GlobalNetworkPolicy, "platform", "", "monitoring", goldmane.Action_Allow, 0)
			return t
		}
		t.endOfTier(goldmane.PolicyKind_GlobalNetworkPolicy, "platform", "", "monitoring", goldmane.Action_Pass)
	}
	if staged && e.staged(&t, denied) {
		return t
	}
	switch {
	case ns.guard == open:
		t.profile(ns.name)
	case denied:
		t.endOfTier(goldmane.PolicyKind_NetworkPolicy, "default", ns.name, clients, goldmane.Action_Deny)
	case ns.name == "messaging" || ns.name == "ingress-nginx":
		t.hit(goldmane.PolicyKind_CalicoNetworkPolicy, "default", ns.name, clients, goldmane.Action_Allow, int64(hash(0, e.id)%6))
	default:
		t.hit(goldmane.PolicyKind_NetworkPolicy, "default", ns.name, clients, goldmane.Action_Allow, int64(hash(0, e.id)%6))
	}
	return t
}

// staged adds the hit of a staged policy that would decide, where there is one.
func (e *edge) staged(t *trace, denied bool) bool {
	switch ns := e.dst.workload.namespace.name; ns {
	case "orders":
		action := goldmane.Action_Allow
		if e.src.is("frontend/admin-ui") || denied {
			action = goldmane.Action_Deny
		}
		t.hit(goldmane.PolicyKind_StagedNetworkPolicy, "default", ns, "lockdown", action, 0)
		return true
	case "catalog":
		if e.src.workload != nil && e.src.workload.namespace.name == "marketing" {
			t.endOfTier(goldmane.PolicyKind_StagedKubernetesNetworkPolicy, "default", ns, "shop-only", goldmane.Action_Deny)
		} else {
			t.hit(goldmane.PolicyKind_StagedKubernetesNetworkPolicy, "default", ns, "shop-only", goldmane.Action_Allow, 1)
		}
		return true
	}
	return false
}

// moved is the trace with its namespaces renamed.
func moved(t *goldmane.PolicyTrace, rename func(string) string) *goldmane.PolicyTrace {
	t = proto.CloneOf(t)
	for _, hits := range [][]*goldmane.PolicyHit{t.EnforcedPolicies, t.PendingPolicies} {
		for _, h := range hits {
			h.Namespace = rename(h.Namespace)
			if h.Trigger != nil {
				h.Trigger.Namespace = rename(h.Trigger.Namespace)
			}
		}
	}
	return t
}
