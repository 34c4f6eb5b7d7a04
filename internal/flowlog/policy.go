package flowlog

import "strconv"

// RuleEndOfTier is the rule of a hit where a policy selected the endpoint, none of
// its rules matched, and the tier's own action applied.
const RuleEndOfTier = int64(-1)

// Hit is one step of a policy trace: a policy, one of its rules, and what it did.
type Hit struct {
	// Kind is one of the Kind values.
	Kind string
	// Tier is "" for profiles, Namespace for what is not namespaced.
	Tier, Namespace, Name string
	// Rule is the rule's index, or negative for the end of the tier.
	Rule   int64
	Action string
}

// hitSeparators may not stand in a part of a hit.
const hitSeparators = escapeSlash | escapeColon | escapeHit

// AppendHit appends h as kind:tier/namespace/name#rule=action. The parts that a
// policy does not have are left out, with their separators.
func AppendHit(b []byte, h *Hit) []byte {
	b = appendToken(b, h.Kind, hitSeparators)
	b = append(b, ':')
	if h.Tier != "" {
		b = append(appendToken(b, h.Tier, hitSeparators), '/')
	}
	if h.Namespace != "" {
		b = append(appendToken(b, h.Namespace, hitSeparators), '/')
	}
	b = appendToken(b, h.Name, hitSeparators)
	b = append(b, '#')
	if h.Rule < 0 {
		b = append(b, "eot"...)
	} else {
		b = strconv.AppendInt(b, h.Rule, 10)
	}
	b = append(b, '=')
	return appendToken(b, h.Action, hitSeparators)
}

// stagedPrefix begins the kind of every staged policy.
const stagedPrefix = "staged-"

// Kinds of policies, after the names that kubectl takes where it has one. A kind
// that has no name here is written as "kind-" and its number.
const (
	KindCalicoNetworkPolicy           = "cnp"
	KindGlobalNetworkPolicy           = "gnp"
	KindNetworkPolicy                 = "np" // Kubernetes' own
	KindStagedNetworkPolicy           = "staged-cnp"
	KindStagedGlobalNetworkPolicy     = "staged-gnp"
	KindStagedKubernetesNetworkPolicy = "staged-np"
	KindAdminNetworkPolicy            = "anp"  // Calico up to 3.31
	KindBaselineAdminNetworkPolicy    = "banp" // Calico up to 3.31
	KindClusterNetworkPolicy          = "kcnp" // since Calico 3.32
	KindProfile                       = "profile"
	// KindEndOfTier is for an end of tier whose triggering policy is not known;
	// where it is, the hit has that policy's kind and the rule "eot".
	KindEndOfTier = "tier"
)
