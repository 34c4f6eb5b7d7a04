package trail

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// Filter says which edges and flows an answer is about. What is empty filters nothing;
// of several values one must match.
type Filter struct {
	// Source, Destination and PeersOf are service identities; `*` stands for any text.
	// PeersOf is either side.
	Source, Destination, PeersOf []string
	// Namespaces are namespaces of either side; `*` stands for any text.
	Namespaces []string
	Ports      []int64
	// Denied and Unconfirmed are outcomes; both together are either.
	Denied, Unconfirmed bool
	// StagedDenied: not denied, and denied with the staged policies in force. Rollups do
	// not know of it.
	StagedDenied bool
	// External: either side is outside the cluster, internet, private or a network set.
	External bool
	// Unattributed: either side has an identity that names no Service.
	Unattributed bool
}

// Matches reports whether the edge is wanted, as far as an edge can tell.
func (f *Filter) Matches(e *flowlog.Edge) bool {
	either := func(is func(identity string) bool) bool { return is(e.Source) || is(e.Destination) }
	return (len(f.Source) == 0 || anyGlob(f.Source, e.Source)) &&
		(len(f.Destination) == 0 || anyGlob(f.Destination, e.Destination)) &&
		(len(f.PeersOf) == 0 || either(func(i string) bool { return anyGlob(f.PeersOf, i) })) &&
		(len(f.Namespaces) == 0 || either(f.inNamespaces)) &&
		(len(f.Ports) == 0 || slices.Contains(f.Ports, e.Port)) &&
		f.wantsAction(e.Action) &&
		(!f.External || either(IsExternal)) &&
		(!f.Unattributed || either(IsUnattributed))
}

// actions are the outcomes that are wanted, none for all.
func (f *Filter) actions() (list []string) {
	if f.Denied {
		list = append(list, flowlog.ActionDeny)
	}
	if f.Unconfirmed {
		list = append(list, flowlog.ActionUnconfirmed)
	}
	return list
}

func (f *Filter) wantsAction(action string) bool {
	actions := f.actions()
	return len(actions) == 0 || slices.Contains(actions, action)
}

// MatchesFlow reports whether the flow is wanted. Whoever asks for an outcome asks for what
// happened, and of that only records that count are evidence.
func (f *Filter) MatchesFlow(flow *Flow) bool {
	return f.Matches(&flow.Edge) &&
		(flow.Counts || !f.ofOutcome()) &&
		(!f.StagedDenied || flow.Action != flowlog.ActionDeny && flow.PendingAction() == flowlog.ActionDeny)
}

// ofOutcome reports whether the filter asks for outcomes.
func (f *Filter) ofOutcome() bool { return f.Denied || f.Unconfirmed || f.StagedDenied }

// some reports whether not every edge is wanted.
func (f *Filter) some() bool {
	return len(f.Source)+len(f.Destination)+len(f.PeersOf)+len(f.Namespaces)+len(f.Ports) > 0 ||
		f.ofOutcome() || f.External || f.Unattributed
}

// IsExternal reports whether an identity is outside the cluster.
func IsExternal(identity string) bool {
	return identity == "internet" || identity == "private" || strings.HasPrefix(identity, networkSet)
}

// IsUnattributed reports whether an identity names no Service: a workload of a
// multi-Service namespace that no label tells apart, or an endpoint of an unknown kind.
func IsUnattributed(identity string) bool {
	return identity == "" || identity == "?" || strings.HasSuffix(identity, "/?")
}

// namespaceOf is the namespace of a workload's or a network set's identity, and "" of
// others.
func namespaceOf(identity string) string {
	name, set := strings.CutPrefix(identity, networkSet)
	if !set {
		name, set = strings.CutPrefix(identity, flowlog.InternalSet)
	}
	if set {
		namespace, _, namespaced := strings.Cut(name, "/")
		if !namespaced {
			return "" // it is global
		}
		return namespace
	}
	if strings.Contains(identity, ":") {
		return ""
	}
	namespace, _, _ := strings.Cut(identity, "/")
	return namespace
}

const networkSet = flowlog.TypeNetworkSet + ":"

func (f *Filter) inNamespaces(identity string) bool {
	namespace := namespaceOf(identity)
	return namespace != "" && anyGlob(f.Namespaces, namespace)
}

func anyGlob(globs []string, s string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return glob(g, s) })
}

// glob reports whether s is what g says, in which `*` stands for any text.
func glob(g, s string) bool {
	first, rest, star := strings.Cut(g, "*")
	if !star {
		return g == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], next
	}
}

// The structured metadata of flow records that is filtered by.
var (
	sourceLabel      = Label(flowlog.SourceIdentity)
	destinationLabel = Label(flowlog.DestinationIdentity)
	egressLabel      = Label(flowlog.PolicyEgressPending)
	ingressLabel     = Label(flowlog.PolicyIngressPending)
)

// thatCount is LogQL for the flow records that count.
const thatCount = ` != " uncounted"`

// ofFlows is the filter as LogQL for flow records: at least what Matches wants. Records of
// another version pass, as far as they look alike: they are told of.
func (f *Filter) ofFlows() string {
	var b strings.Builder
	contains := func(texts ...string) { b.WriteString(containing(texts...)) }
	if actions := f.actionTexts(); len(actions) > 0 {
		contains(actions...)
	}
	if len(f.Ports) > 0 {
		contains(portTexts(f.Ports)...)
	}
	where := func(conditions ...string) { b.WriteString(" | " + strings.Join(conditions, " or ")) }
	if len(f.Source) > 0 {
		where(sourceLabel + oneOf(f.Source, globPattern))
	}
	if len(f.Destination) > 0 {
		where(destinationLabel + oneOf(f.Destination, globPattern))
	}
	if len(f.PeersOf) > 0 {
		one := oneOf(f.PeersOf, globPattern)
		where(sourceLabel+one, destinationLabel+one)
	}
	if len(f.Namespaces) > 0 {
		in := "=~" + strconv.Quote(joined(f.Namespaces, func(n string) string {
			return "(" + networkSet + "|" + flowlog.InternalSet + ")?" + globPattern(n) + "(/.*)?"
		}))
		where(sourceLabel+in, destinationLabel+in)
	}
	if f.StagedDenied {
		where(egressLabel+`!=""`, ingressLabel+`!=""`)
	}
	if f.External {
		outside := `=~"internet|private|networkset:.*"`
		where(sourceLabel+outside, destinationLabel+outside)
	}
	if f.Unattributed {
		nobody := `=~".*[?]|"`
		where(sourceLabel+nobody, destinationLabel+nobody)
	}
	return b.String()
}

// keptForSums leaves of the structured metadata what sums are made of. What Loki does not
// send it need not write: a fifth of the time.
var keptForSums = " | keep " + strings.Join([]string{
	sourceLabel, destinationLabel, egressLabel, ingressLabel, Label(flowlog.PolicyEgress), Label(flowlog.PolicyIngress),
}, ", ")

// ofRollups is the filter as LogQL for rollups. What closes an interval passes, and so does
// the edge that stands for others: they say whether what passes is all there is.
func (f *Filter) ofRollups() string {
	var b strings.Builder
	contains := func(texts ...string) {
		b.WriteString(containing(append(texts, flowlog.SourceText(flowlog.OverflowIdentity), flowlog.ClosingText())...))
	}
	for _, side := range [...]struct {
		globs []string
		text  func(string) string
	}{
		{f.Source, flowlog.SourceText},
		{f.Destination, flowlog.DestinationText},
		{f.PeersOf, flowlog.EndpointText},
	} {
		if len(side.globs) == 0 || slices.ContainsFunc(side.globs, func(g string) bool { return strings.Contains(g, "*") }) {
			continue
		}
		texts := make([]string, 0, len(side.globs))
		for _, identity := range side.globs {
			texts = append(texts, side.text(identity))
		}
		contains(texts...)
	}
	if len(f.Ports) > 0 {
		contains(portTexts(f.Ports)...)
	}
	if actions := f.actionTexts(); len(actions) > 0 {
		contains(actions...)
	}
	return b.String()
}

// actionTexts are parts of the lines of the outcomes that are wanted.
func (f *Filter) actionTexts() (list []string) {
	for _, action := range f.actions() {
		list = append(list, flowlog.ActionText(action))
	}
	return list
}

// containing is LogQL for lines that have any of the texts.
func containing(texts ...string) string { return " |= " + strings.Join(quoted(texts), " or ") }

func portTexts(ports []int64) []string {
	texts := make([]string, 0, len(ports))
	for _, p := range ports {
		texts = append(texts, flowlog.PortText(p))
	}
	return texts
}

func oneOf(values []string, pattern func(string) string) string {
	if len(values) == 1 && pattern(values[0]) == regexp.QuoteMeta(values[0]) {
		return "=" + strconv.Quote(values[0])
	}
	return "=~" + strconv.Quote(joined(values, pattern))
}

func joined(values []string, pattern func(string) string) string {
	list := make([]string, 0, len(values))
	for _, v := range values {
		list = append(list, pattern(v))
	}
	return strings.Join(list, "|")
}

// globPattern is a glob as a regular expression, which LogQL anchors.
func globPattern(g string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(g), `\*`, ".*")
}

func quoted(texts []string) []string {
	list := make([]string, 0, len(texts))
	for _, t := range texts {
		list = append(list, strconv.Quote(t))
	}
	return list
}
