//go:build e2e

package queries

import (
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// The known trail: a day of a small shop. Rollups of every hour and of the day, and
// flow and coverage records of the last two hours. The times are fixed, so that
// docs/queries.md says the same whenever it is written.
const (
	window = 15
	hour   = 3600
	day    = 24 * hour
	// recent is how much of the day there are flow and coverage records of.
	recent = 2 * hour
	// cluster is the one that queries ask for. There is another in the same Loki, with the
	// same records, that must not count.
	cluster, otherCluster = "shop", "lab"
)

var (
	begin = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC).Unix()
	end   = begin + day
)

// record is one record of the known trail, as Loki must have it.
type record struct {
	stream     string
	time       time.Time
	line       string
	attributes map[string]string

	// One of these is what the record says.
	flow     *seededFlow
	rollup   *flowlog.Rollup
	seen     *flowlog.FirstSeen
	coverage *flowlog.Coverage
	gap      *flowlog.Gap
}

type seededFlow struct {
	flowlog.Flow
	source, destination string
}

// talk is who talks to whom in every nth window, or in [from, to) only if that is given.
type talk struct {
	flow         seededFlow
	every, after int64
	from, to     int64
}

func pod(identity, name string) flowlog.Endpoint {
	namespace, _, _ := strings.Cut(identity, "/")
	return flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: namespace, Name: name}
}

func network(name string) flowlog.Endpoint {
	return flowlog.Endpoint{Type: flowlog.TypeNetwork, Name: name}
}

const (
	allowShop   = "np:default/payments/allow-shop#0=allow"
	denyRest    = "gnp:platform/default-deny#eot=deny"
	openProfile = "profile:kns.shop#0=allow"
)

// seeded makes the flow of one window; its counters are made in flowsOf.
func seeded(source, destination string, from, to flowlog.Endpoint, port int64, action, hit string) seededFlow {
	f := seededFlow{source: source, destination: destination, Flow: flowlog.Flow{
		Source: from, Destination: to, Transport: "tcp", Port: port,
		Action: action, SourceAction: flowlog.ActionAllow, DestinationAction: action,
		Reporter: flowlog.ReporterBoth, Deciding: hit, Egress: openProfile, Ingress: hit, Counts: true,
	}}
	switch {
	case action == flowlog.ActionUnconfirmed: // the destination's node said nothing
		f.Reporter, f.DestinationAction, f.Ingress, f.Egress = flowlog.ReporterSource, "", "", hit
	case to.Type == flowlog.TypeNetwork:
		f.Reporter, f.DestinationAction, f.Ingress, f.Egress = flowlog.ReporterSource, "", "", hit
		f.SourceAction = action
	case from.Type == flowlog.TypeNetwork:
		f.Reporter, f.SourceAction, f.Egress = flowlog.ReporterDestination, "", ""
	}
	return f
}

func withService(f seededFlow, s flowlog.Service) seededFlow {
	f.Service = s
	return f
}

// newcomer begins to talk twenty minutes before the end, and is denied.
var newcomer = end - 20*60

// silent are the windows in which a node does not reach Goldmane: what goes to its Pods is
// unconfirmed.
var silent = [2]int64{end - 40*60, end - 35*60}

var talks = []talk{
	{flow: seeded("internet", "frontend", network(flowlog.NetworkPublic), pod("frontend", "web-7d9c5b6f4-*"), 8080, flowlog.ActionAllow, openProfile), every: 1},
	{flow: withService(seeded("frontend", "catalog", pod("frontend", "web-7d9c5b6f4-*"), pod("catalog", "catalog-api-*"), 8080, flowlog.ActionAllow, openProfile),
		flowlog.Service{Namespace: "catalog", Name: "catalog-api", PortName: "http", Port: 80}), every: 1},
	{flow: withService(seeded("frontend", "cart", pod("frontend", "web-7d9c5b6f4-*"), pod("cart", "cart-api-*"), 8080, flowlog.ActionAllow, openProfile),
		flowlog.Service{Namespace: "cart", Name: "cart-api", PortName: "http", Port: 80}), every: 2},
	{flow: withService(seeded("cart", "payments", pod("cart", "cart-api-*"), pod("payments", "payments-api-*"), 8443, flowlog.ActionAllow, allowShop),
		flowlog.Service{Namespace: "payments", Name: "payments-api", PortName: "https", Port: 443}), every: 4},
	{flow: seeded("payments", "dbaas/payments-db", pod("payments", "payments-api-*"), pod("dbaas", "pg-payments-*"), 5432, flowlog.ActionAllow, openProfile), every: 4, after: 1},
	{flow: seeded("payments", "internet", pod("payments", "payments-api-*"), network(flowlog.NetworkPublic), 443, flowlog.ActionAllow, openProfile), every: 8},
	{flow: seeded("payments", "networkset:psp", pod("payments", "payments-api-*"), flowlog.Endpoint{Type: flowlog.TypeNetworkSet, Name: "psp"}, 443, flowlog.ActionAllow, openProfile), every: 20},
	{flow: seeded("cart", "stock", pod("cart", "cart-api-*"), pod("stock", "stock-api-*"), 8080, flowlog.ActionAllow, openProfile), every: 4, after: 2},
	{flow: seeded("cart", "stock", pod("cart", "cart-api-*"), pod("stock", "stock-api-*"), 8080, flowlog.ActionUnconfirmed, openProfile), every: 2, from: silent[0], to: silent[1]},
	{flow: seeded("monitoring/grafana", "monitoring/?", pod("monitoring", "grafana-*"), pod("monitoring", "agent-*"), 9100, flowlog.ActionAllow, openProfile), every: 4, after: 3, from: begin, to: end - hour},
	{flow: seeded("monitoring/?", "payments", pod("monitoring", "agent-*"), pod("payments", "payments-api-*"), 9102, flowlog.ActionDeny, denyRest), every: 40},
	{flow: seeded("catalog", "private", pod("catalog", "catalog-api-*"), network(flowlog.NetworkPrivate), 2049, flowlog.ActionAllow, openProfile), every: 10},
	{flow: seeded("sandbox", "payments", pod("sandbox", "job-x"), pod("payments", "payments-api-*"), 8443, flowlog.ActionDeny, denyRest), every: 1, from: newcomer, to: end},
}

// The windows of which the trail has nothing, and of which it is not sure.
var (
	lost    = flowlog.Gap{From: end - 90*60, To: end - 90*60 + 13*window, Window: window, Cause: flowlog.CauseGoldmaneRestart}
	partial = [2]int64{lost.To, lost.To + 5*window}
)

// causeOf says why the window that starts there is not complete, "" where it is.
func causeOf(start int64) string {
	switch {
	case start >= lost.From && start < partial[1]:
		return flowlog.CauseGoldmaneRestart
	case start >= silent[0] && start < silent[1]:
		return flowlog.CauseNodesSilent
	}
	return ""
}

// flowsOf are the flows of the window that starts there.
func flowsOf(start int64) []seededFlow {
	if start >= lost.From && start < lost.To {
		return nil
	}
	n := (start - begin) / window
	var flows []seededFlow
	for i, t := range talks {
		if t.to != 0 && (start < t.from || start >= t.to) || n%t.every != t.after {
			continue
		}
		f := t.flow
		f.Start, f.End = start, start+window
		size := int64(i+1) * (100 + n%7)
		f.ConnectionsStarted, f.ConnectionsCompleted = 1+n%3, 1
		f.ConnectionsLive = f.ConnectionsStarted - 1
		f.SourcePackets, f.SourceBytes = 3, 3*size
		if f.Action != flowlog.ActionDeny {
			f.DestinationPackets, f.DestinationBytes = 5, 50*size
		}
		if f.Action == flowlog.ActionDeny && n%3 == 0 {
			// Calico goes on reporting a denial of which there is no packet.
			f.Counters, f.Counts = flowlog.Counters{}, false
		}
		if f.destination == "catalog" && n%16 == 3 {
			// In this window there is no flush of the source's node, which reports the traffic in
			// the next one.
			f.Reporter, f.SourceAction, f.Egress, f.Counts = flowlog.ReporterDestination, "", "", false
		}
		f.Late = n%97 == 5
		flows = append(flows, f)
	}
	return flows
}

// rollups are what edgesconnector says of [start, start+length).
func rollupsOf(start, length int64) []flowlog.Rollup {
	var all []flowlog.Rollup
	at := map[flowlog.Edge]int{}
	for w := start; w < start+length; w += window {
		for _, f := range flowsOf(w) {
			if !f.Counts {
				continue
			}
			edge := flowlog.Edge{Source: f.source, Destination: f.destination, Port: f.Port, Transport: f.Transport, Action: f.Action}
			i, known := at[edge]
			if !known {
				i = len(all)
				at[edge] = i
				all = append(all, flowlog.Rollup{
					Edge: edge, Start: start, End: start + length, Final: true,
					Total: length / window, First: w, Policies: []string{f.Deciding},
				})
			}
			r := &all[i]
			r.Flows++
			r.Windows++
			r.Counters.Add(&f.Counters)
			r.ConnectionsLive = 0
			r.Last = w + window
		}
	}
	for i := range all {
		r := &all[i]
		for w := start; w < start+length; w += window {
			if causeOf(w) == "" {
				r.Complete++
			}
		}
		r.Sequence = r.Flows + r.Complete
	}
	return all
}

// seed is the known trail, in the order of time.
func seed() []record {
	var records []record
	add := func(stream string, write func(plog.LogRecord), r record) {
		lr := plog.NewLogRecord()
		write(lr)
		r.stream, r.time, r.line = stream, lr.Timestamp().AsTime(), lr.Body().Str()
		r.attributes = map[string]string{}
		for k, v := range lr.Attributes().All() {
			// Coverage records keep all, edge records none, flow records what examples/ keep.
			if stream == flowlog.StreamCoverage || stream == flowlog.StreamFlows && slices.Contains(kept, k) {
				r.attributes[k] = v.AsString()
			}
		}
		records = append(records, r)
	}
	addRollup := func(stream string, r flowlog.Rollup) {
		add(stream, r.WriteTo, record{rollup: &r})
	}
	addClosing := func(stream string, start, length int64, edges int) {
		c := flowlog.Closing{Start: start, End: start + length, Sequence: length, Edges: int64(edges), Complete: length / window, Total: length / window}
		add(stream, c.WriteTo, record{})
	}
	for start := begin; start < end; start += hour {
		rollups := rollupsOf(start, hour)
		for _, r := range rollups {
			addRollup(flowlog.StreamEdges, r)
		}
		addClosing(flowlog.StreamEdges, start, hour, len(rollups))
	}
	// The collector was restarted within an hour, and said what it knew by then.
	for _, r := range rollupsOf(begin+5*hour, hour/2) {
		r.End, r.Total, r.Final, r.AsOf = begin+6*hour, hour/window, false, begin+5*hour+hour/2
		addRollup(flowlog.StreamEdges, r)
	}
	rollups := rollupsOf(begin, day)
	for _, r := range rollups {
		addRollup(flowlog.StreamEdgesDaily, r)
	}
	addClosing(flowlog.StreamEdgesDaily, begin, day, len(rollups))
	for start := end - recent; start < end; start += window {
		for _, f := range flowsOf(start) {
			line, key := f.AppendLine(nil)
			add(flowlog.StreamFlows, func(lr plog.LogRecord) {
				f.WriteTo(lr, string(line), key)
				lr.Attributes().PutStr(flowlog.SourceIdentity, f.source)
				lr.Attributes().PutStr(flowlog.DestinationIdentity, f.destination)
			}, record{flow: &f})
		}
		if start >= lost.From && start < lost.To {
			continue
		}
		c := flowlog.Coverage{Start: start, End: start + window, Status: flowlog.StatusComplete, Flows: 9, Records: int64(len(flowsOf(start))), Pairs: 12}
		if c.Cause = causeOf(start); c.Cause != "" {
			c.Status = flowlog.StatusPartial
		}
		if c.Cause == flowlog.CauseNodesSilent {
			c.OneSided = 4
		}
		for _, c.Final = range []bool{false, true} {
			said := c
			add(flowlog.StreamCoverage, said.WriteTo, record{coverage: &said})
		}
	}
	add(flowlog.StreamCoverage, lost.WriteTo, record{gap: &lost})
	for _, t := range talks {
		if t.from <= begin {
			continue // known since it began
		}
		event := flowlog.FirstSeen{Edge: flowlog.Edge{
			Source: t.flow.source, Destination: t.flow.destination, Port: t.flow.Port, Transport: t.flow.Transport, Action: t.flow.Action,
		}, Start: t.from, End: t.from + window, Deciding: t.flow.Deciding}
		add(flowlog.StreamEdges, event.WriteTo, record{seen: &event})
	}
	slices.SortStableFunc(records, func(a, b record) int { return a.time.Compare(b.time) })
	return records
}

// kept are the attributes of flow records that the configurations in examples/ keep.
var kept = []string{
	flowlog.SourceIdentity, flowlog.DestinationIdentity, flowlog.FlowService,
	flowlog.PolicyEgress, flowlog.PolicyIngress, flowlog.PolicyEgressPending, flowlog.PolicyIngressPending,
}
