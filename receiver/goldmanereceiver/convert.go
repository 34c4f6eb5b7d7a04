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

// reset begins the counts anew.
func (c *converter) reset() { c.discarded, c.odd = discarded{}, oddities{} }

// convert fills f from one row of the answer for the window that starts at start,
// and reports whether there was a flow of that window in it.
func (c *converter) convert(row *wireFlow, start int64, f *flowlog.Flow) bool {
	switch {
	case !row.hasFlow:
		c.discarded.noFlow++
		return false
	case !row.hasKey:
		c.discarded.noKey++
		return false
	case row.start == start:
	case row.start == 0:
		// Goldmane answers a key whose window had not ended with an empty row.
		c.discarded.unfinished++
		return false
	default:
		c.discarded.otherWindow++
		return false
	}
	c.odd.badText += row.badText
	c.odd.labels += row.badLabels
	f.Source.Type = c.odd.endpointType(row.sourceType)
	f.Source.Namespace = normal(row.sourceNamespace)
	f.Source.Name = normal(row.sourceName)
	f.Source.Labels = row.sourceLabels
	f.Destination.Type = c.odd.endpointType(row.destType)
	f.Destination.Namespace = normal(row.destNamespace)
	f.Destination.Name = normal(row.destName)
	f.Destination.Labels = row.destLabels
	splitNetworkSet(&f.Source)
	splitNetworkSet(&f.Destination)
	f.Service.Namespace = normal(row.service.namespace)
	f.Service.Name = normal(row.service.name)
	f.Service.PortName = normal(row.service.portName)
	f.Service.Port = row.servicePort
	f.Start, f.End = row.start, row.end
	f.Transport = strings.ToLower(normal(row.proto))
	f.SetPort(row.destPort)
	c.verdict(row, f)
	count(row, f)
	return true
}

// verdict fills in who reported the flow, what it saw, and which policies said so.
func (c *converter) verdict(row *wireFlow, f *flowlog.Flow) {
	f.Action = c.odd.action(row.action)
	f.Reporter = c.odd.reporter(row.reporter)
	if !row.hasPolicies {
		c.odd.noPolicies++
	}
	t := c.traces.of(row.policies)
	f.StagedEnforced = t.staged
	if t.staged {
		c.odd.stagedEnforced++
	}
	if row.reporter == goldmane.Reporter_Dst {
		f.DestinationAction, f.Ingress, f.IngressPending = f.Action, t.enforced, t.pending
	} else {
		f.SourceAction, f.Egress, f.EgressPending = f.Action, t.enforced, t.pending
	}
}

// count turns Goldmane's in and out, which are the reporter's, into the directions
// of the flow.
func count(row *wireFlow, f *flowlog.Flow) {
	f.SourcePackets, f.SourceBytes = row.packetsOut, row.bytesOut
	f.DestinationPackets, f.DestinationBytes = row.packetsIn, row.bytesIn
	if row.reporter == goldmane.Reporter_Dst {
		f.SourcePackets, f.DestinationPackets = f.DestinationPackets, f.SourcePackets
		f.SourceBytes, f.DestinationBytes = f.DestinationBytes, f.SourceBytes
	}
	f.ConnectionsStarted, f.ConnectionsCompleted, f.ConnectionsLive = row.started, row.completed, row.alive
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
	if e.Type == flowlog.TypeNetworkSet {
		e.Namespace, e.Name = networkSet(e.Namespace, e.Name)
	}
}

func networkSet(namespace, name string) (string, string) {
	of, rest, ok := strings.Cut(name, "/")
	if ok && (namespace == "" || namespace == of) {
		return of, rest
	}
	return namespace, name
}
