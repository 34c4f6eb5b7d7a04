package goldmanereceiver

import (
	"strings"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// converter turns rows of Goldmane's answers into flows of the trail, and counts
// what it cannot turn. It is not safe for concurrent use.
type converter struct {
	labels labelglob.Filter
	traces traces
	odd    oddities
	// discarded counts rows that say nothing or belong elsewhere.
	discarded discarded
}

// discarded counts rows that became no flow, by reason.
type discarded struct {
	noFlow, noKey, unfinished, otherWindow int64
}

func newConverter(labels []string) (*converter, error) {
	set, err := labelglob.Compile(labels)
	if err != nil {
		return nil, err
	}
	c := &converter{labels: set.Filter()}
	c.traces.odd = &c.odd
	return c, nil
}

// convert fills f from one row of the answer for the window that starts at start,
// and reports whether there was a flow of that window in it. It keeps parts of the
// row, and may reorder them.
func (c *converter) convert(row *goldmane.FlowResult, start int64, f *flowlog.Flow) bool {
	flow := row.GetFlow()
	if flow == nil {
		c.discarded.noFlow++
		return false
	}
	key := flow.Key
	if key == nil {
		c.discarded.noKey++
		return false
	}
	switch flow.StartTime {
	case start:
	case 0:
		// Goldmane answers a key whose window had not ended with an empty row.
		c.discarded.unfinished++
		return false
	default:
		c.discarded.otherWindow++
		return false
	}
	*f = flowlog.Flow{
		Source: flowlog.Endpoint{
			Type:      c.odd.endpointType(key.SourceType),
			Namespace: normal(key.SourceNamespace),
			Name:      normal(key.SourceName),
			Labels:    c.keptLabels(flow.SourceLabels),
		},
		Destination: flowlog.Endpoint{
			Type:      c.odd.endpointType(key.DestType),
			Namespace: normal(key.DestNamespace),
			Name:      normal(key.DestName),
			Labels:    c.keptLabels(flow.DestLabels),
		},
		Transport: strings.ToLower(normal(key.Proto)),
		Port:      key.DestPort,
		Service: flowlog.Service{
			Namespace: normal(key.DestServiceNamespace),
			Name:      normal(key.DestServiceName),
			PortName:  normal(key.DestServicePortName),
			Port:      key.DestServicePort,
		},
		Start: flow.StartTime,
		End:   flow.EndTime,
	}
	splitNetworkSet(&f.Source)
	splitNetworkSet(&f.Destination)
	if f.Transport == "icmp" {
		f.SetICMP(f.Port)
		f.Port = 0
	}
	c.verdict(key, f)
	count(flow, f)
	return true
}

// verdict fills in who reported the flow, what it saw, and which policies said so.
func (c *converter) verdict(key *goldmane.FlowKey, f *flowlog.Flow) {
	f.Action = c.odd.action(key.Action)
	f.Reporter = c.odd.reporter(key.Reporter)
	var enforced, pending string
	if key.Policies == nil {
		c.odd.noPolicies++
	} else {
		enforced = c.traces.render(key.Policies.EnforcedPolicies)
		if pending = c.traces.render(key.Policies.PendingPolicies); pending == enforced {
			pending = ""
		}
	}
	f.Deciding = flowlog.DecidingHit(enforced)
	if key.Reporter == goldmane.Reporter_Dst {
		f.DestinationAction, f.Ingress, f.IngressPending = f.Action, enforced, pending
	} else {
		f.SourceAction, f.Egress, f.EgressPending = f.Action, enforced, pending
	}
}

// count turns Goldmane's in and out, which are the reporter's, into the directions
// of the flow.
func count(from *goldmane.Flow, f *flowlog.Flow) {
	f.Counters = flowlog.Counters{
		SourcePackets:        from.PacketsOut,
		SourceBytes:          from.BytesOut,
		DestinationPackets:   from.PacketsIn,
		DestinationBytes:     from.BytesIn,
		ConnectionsStarted:   from.NumConnectionsStarted,
		ConnectionsCompleted: from.NumConnectionsCompleted,
		ConnectionsLive:      from.NumConnectionsLive,
	}
	if f.Reporter == flowlog.ReporterDestination {
		f.SourcePackets, f.DestinationPackets = f.DestinationPackets, f.SourcePackets
		f.SourceBytes, f.DestinationBytes = f.DestinationBytes, f.SourceBytes
	}
}

// normal returns s, or "" for Calico's sign for nothing.
func normal(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// splitNetworkSet parts the name of a NetworkSet, which Calico sends as
// namespace/name, so that the namespace stands in one place only.
func splitNetworkSet(e *flowlog.Endpoint) {
	if e.Type != flowlog.TypeNetworkSet {
		return
	}
	namespace, name, ok := strings.Cut(e.Name, "/")
	if ok && (e.Namespace == "" || e.Namespace == namespace) {
		e.Namespace, e.Name = namespace, name
	}
}

// keptLabels leaves in labels, in place, those that are passed on.
func (c *converter) keptLabels(labels []string) []string {
	kept := labels[:0]
	for _, label := range labels {
		i := strings.IndexByte(label, '=')
		if i < 0 {
			if label == "" {
				continue // Goldmane's empty intersection, once split
			}
			c.odd.labels++
			i = len(label)
		}
		if c.labels.Keeps(label[:i]) {
			kept = append(kept, label)
		}
	}
	return kept
}
