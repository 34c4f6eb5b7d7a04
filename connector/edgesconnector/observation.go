package edgesconnector

import (
	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// observation is what a flow record says, as far as edges go. Its strings are the record's.
type observation struct {
	edge flowlog.Edge
	// start and end bound the window, in seconds since the epoch.
	start, end int64
	// key tells the record apart from others of its window.
	key uint64
	// fromSource is whether the counters are the source's.
	fromSource bool
	// counters are never negative: sums only grow.
	counters flowlog.Counters
	deciding string
}

// longestWindow bounds what is taken for a window, in seconds.
const longestWindow = 3600

// read fills o with what a flow record says. It reports whether the record has a window.
func (o *observation) read(lr plog.LogRecord) bool {
	*o = observation{}
	reporter := ""
	for key, v := range lr.Attributes().All() {
		// A switch, which the compiler makes a search by length of: it is asked for each of a
		// record's thirty attributes.
		switch key {
		case flowlog.SourceIdentity:
			o.edge.Source = v.Str()
		case flowlog.DestinationIdentity:
			o.edge.Destination = v.Str()
		case flowlog.DestinationPort:
			o.edge.Port = v.Int()
		case flowlog.NetworkTransport:
			o.edge.Transport = v.Str()
		case flowlog.FlowAction:
			o.edge.Action = v.Str()
		case flowlog.FlowReporter:
			reporter = v.Str()
		case flowlog.PolicyDeciding:
			o.deciding = v.Str()
		case flowlog.FlowStart:
			o.start = v.Int()
		case flowlog.FlowEnd:
			o.end = v.Int()
		case flowlog.FlowSourcePackets:
			o.counters.SourcePackets = max(0, v.Int())
		case flowlog.FlowSourceBytes:
			o.counters.SourceBytes = max(0, v.Int())
		case flowlog.FlowDestinationPackets:
			o.counters.DestinationPackets = max(0, v.Int())
		case flowlog.FlowDestinationBytes:
			o.counters.DestinationBytes = max(0, v.Int())
		case flowlog.FlowConnectionsStarted:
			o.counters.ConnectionsStarted = max(0, v.Int())
		case flowlog.FlowConnectionsCompleted:
			o.counters.ConnectionsCompleted = max(0, v.Int())
		}
	}
	o.fromSource = flowlog.FromSource(reporter)
	// The line is unique in its window. One that another component has changed, or that
	// is no string, is as good as long as it changes the same way every time.
	if body := lr.Body(); body.Type() == pcommon.ValueTypeStr {
		o.key = xxhash.Sum64String(body.Str())
	} else {
		o.key = xxhash.Sum64String(body.AsString())
	}
	return o.start > 0 && o.end > o.start && o.end-o.start <= longestWindow
}

// status is what is known of a window.
type status uint8

const (
	unknown status = iota
	partial
	complete
	missing
)

// report is what a coverage or gap record says: of one window, or of a run of them.
type report struct {
	// from and to bound the run, in seconds since the epoch.
	from, to int64
	// window is the length of each, in seconds.
	window int64
	status status
	final  bool
}

// read fills r with what a coverage or gap record says, and reports whether it is sound.
func (r *report) read(lr plog.LogRecord) bool {
	*r = report{status: partial}
	windows := int64(1)
	for key, v := range lr.Attributes().All() {
		switch key {
		case flowlog.FlowStart:
			r.from = v.Int()
		case flowlog.FlowEnd:
			r.to = v.Int()
		case flowlog.CoverageFinal:
			r.final = v.Bool()
		case flowlog.CoverageWindows:
			windows = v.Int()
		case flowlog.CoverageStatus:
			switch v.Str() {
			case flowlog.StatusComplete:
				r.status = complete
			case flowlog.StatusMissing:
				r.status = missing
			}
		}
	}
	if r.from <= 0 || r.to <= r.from || windows < 1 || (r.to-r.from)%windows != 0 {
		return false
	}
	r.window = (r.to - r.from) / windows
	return r.window <= longestWindow
}
