package flowlog

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// attributeCapacity is room for all attributes that a record has when the receiver
// hands it on, 34 at most on the simulator's cluster, and for the processor's four.
const attributeCapacity = 38

const (
	// sourceBits is how many bits of a key are its source's.
	sourceBits = 12
	// tick is the unit of a record's place in its window, in nanoseconds as a power of
	// two, 1 ms: Loki stores timestamps as they are, and bits that are always 0 cost
	// nothing.
	tick = 20
	// ticks is how many a source has, as a power of two.
	ticks = 2
)

// Timestamp is the record's time: the window's start plus an offset in the window
// that the flow's key decides. One key has the same offset in every window. The records
// of a source stand together, so that what they share is compressed.
//
// Records are spread because Loki compares an entry with all others of its
// timestamp: 150,000 records on one made a range query run into its 60 s limit;
// spread, it took 0.16 s.
func Timestamp(start, end int64, key uint64) time.Time {
	places := uint64(max(end-start, 0)) * uint64(time.Second) >> (tick + ticks) // for sources
	if places < 2 {
		return time.Unix(start, 0)
	}
	// The first is the first multiple in the window, hence one less.
	source := key >> (64 - sourceBits) * (places - 1) >> sourceBits
	first := uint64(start*int64(time.Second))>>(tick+ticks) + 1
	return time.Unix(0, int64((first+source)<<(tick+ticks)|(key&(1<<ticks-1))<<tick))
}

// WriteTo fills lr with the flow. line and key are what AppendLine returned. It
// sets no observed timestamp and no severity: Loki would store both with every
// record, and the first makes a repeat differ from the original.
func (f *Flow) WriteTo(lr plog.LogRecord, line string, key uint64) {
	lr.SetTimestamp(pcommon.NewTimestampFromTime(Timestamp(f.Start, f.End, key)))
	lr.SetEventName(EventName)
	lr.Body().SetStr(line)

	m := lr.Attributes()
	m.EnsureCapacity(attributeCapacity)
	putStr(m, FlowAction, f.Action)
	m.PutBool(FlowCounts, f.Counts)
	putStr(m, FlowReporter, f.Reporter)
	putStr(m, NetworkTransport, f.Transport)
	putStr(m, SourceType, f.Source.Type)
	putStr(m, SourceNamespace, f.Source.Namespace)
	putStr(m, SourceName, f.Source.Name)
	putStr(m, DestinationType, f.Destination.Type)
	putStr(m, DestinationNamespace, f.Destination.Namespace)
	putStr(m, DestinationName, f.Destination.Name)
	switch {
	case f.ICMP != 0:
		m.PutInt(ICMPType, int64(f.ICMPType()))
		m.PutInt(ICMPCode, int64(f.ICMPCode()))
	case f.Port != 0:
		m.PutInt(DestinationPort, f.Port)
	}
	putStr(m, DestinationServiceNamespace, f.Service.Namespace)
	putStr(m, DestinationServiceName, f.Service.Name)
	putStr(m, DestinationServicePortName, f.Service.PortName)
	if f.Service.Port != 0 {
		m.PutInt(DestinationServicePort, f.Service.Port)
	}
	if f.Service != (Service{}) {
		var room [128]byte
		m.PutStr(FlowService, string(appendService(room[:0], &f.Service)))
	}
	if f.SourceAction != f.DestinationAction && f.SourceAction != "" && f.DestinationAction != "" {
		m.PutStr(FlowSourceAction, f.SourceAction)
		m.PutStr(FlowDestinationAction, f.DestinationAction)
	}
	m.PutInt(FlowStart, f.Start)
	m.PutInt(FlowEnd, f.End)
	m.PutInt(FlowSourcePackets, f.SourcePackets)
	m.PutInt(FlowSourceBytes, f.SourceBytes)
	m.PutInt(FlowDestinationPackets, f.DestinationPackets)
	m.PutInt(FlowDestinationBytes, f.DestinationBytes)
	m.PutInt(FlowConnectionsStarted, f.ConnectionsStarted)
	m.PutInt(FlowConnectionsCompleted, f.ConnectionsCompleted)
	m.PutInt(FlowConnectionsLive, f.ConnectionsLive)
	if f.Late {
		m.PutBool(FlowLate, true)
	}
	if f.NoTraffic() {
		m.PutBool(FlowNoTraffic, true)
	}
	if f.Split > 1 {
		m.PutInt(FlowSplit, int64(f.Split))
	}
	if f.ServiceTwin {
		m.PutBool(FlowServiceTwin, true)
	}
	putStr(m, PolicyDeciding, f.Deciding)
	putStr(m, PolicyEgress, f.Egress)
	putStr(m, PolicyIngress, f.Ingress)
	putStr(m, PolicyEgressPending, f.EgressPending)
	putStr(m, PolicyIngressPending, f.IngressPending)
	putStr(m, PolicyPendingAction, f.PendingAction())
	if f.StagedEnforced {
		m.PutBool(PolicyStagedEnforced, true)
	}
	putLabels(m, SourceLabels, f.Source.Labels)
	putLabels(m, DestinationLabels, f.Destination.Labels)
}

func putStr(m pcommon.Map, key, value string) {
	if value != "" {
		m.PutStr(key, value)
	}
}

func putLabels(m pcommon.Map, key string, labels []Label) {
	if len(labels) == 0 {
		return
	}
	to := m.PutEmptyMap(key)
	to.EnsureCapacity(len(labels))
	for i := range labels {
		to.PutStr(labels[i].Key, labels[i].Value)
	}
}
