package edgesconnector

import (
	"sync"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// observation is what a flow record that counts says, as far as edges go. Its strings are the
// record's.
type observation struct {
	edge flowlog.Edge
	// start and end bound the window, in seconds since the epoch.
	start, end int64
	// key tells the record apart from others of its window.
	key uint64
	// twin is whether the destination would have another identity, that of the Service which
	// was dialled, and has it in another record.
	twin bool
	// counters are never negative: sums only grow.
	counters flowlog.Counters
	deciding string
}

// longestWindow bounds what is taken for a window, in seconds.
const longestWindow = 3600

// reading is what a flow record is good for.
type reading uint8

const (
	counts    reading = iota
	uncounted         // it is in no sum, by what it says itself
	malformed         // it has no window
	noCounts          // it does not say whether it counts
)

// read fills o with what a flow record says, if it counts.
func (o *observation) read(lr plog.LogRecord) reading {
	*o = observation{}
	says, basis := false, ""
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
		case flowlog.FlowCounts:
			if says = v.Type() == pcommon.ValueTypeBool; says && !v.Bool() {
				return uncounted
			}
		case flowlog.FlowServiceTwin:
			o.twin = v.Bool()
		case flowlog.DestinationIdentityBasis:
			basis = v.Str()
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
	switch {
	case !says:
		return noCounts
	case !isWindow(o.start, o.end):
		return malformed
	}
	// Of other destinations the identity does not rest on the Service: the twin's edge is the same.
	o.twin = o.twin && (basis == flowlog.BasisNetwork || basis == flowlog.BasisUnknown)
	// The line is unique in its window. One that another component has changed, or that
	// is no string, is as good as long as it changes the same way every time.
	if body := lr.Body(); body.Type() == pcommon.ValueTypeStr {
		o.key = xxhash.Sum64String(body.Str())
	} else {
		o.key = xxhash.Sum64String(body.AsString())
	}
	return counts
}

// isWindow reports whether two times, in seconds since the epoch, can be a window's bounds.
func isWindow(start, end int64) bool {
	return start > 0 && end > start && end-start <= longestWindow
}

// reader reads flow records, and says once what is wrong with the pipeline that they come by.
type reader struct {
	log                *zap.Logger
	identities, counts sync.Once
}

// flow fills o with what a flow record says, and reports whether it counts. What should
// have counted and cannot is noted in t.
func (r *reader) flow(o *observation, lr plog.LogRecord, t *tally) bool {
	switch o.read(lr) {
	case counts:
	case uncounted:
		return false
	case malformed:
		t.malformed++
		return false
	case noCounts:
		t.noCounts++
		r.counts.Do(func() {
			r.log.Warn("Flow records do not say whether they count, and are left out: have the goldmane receiver of this version in front of this connector, and nothing that removes attributes between them",
				zap.String("attribute", flowlog.FlowCounts))
		})
		return false
	}
	if o.edge.Source == "" && o.edge.Destination == "" {
		r.identities.Do(func() {
			r.log.Warn("Flow records have no service identities: put the processor svcid in front of this connector, and nothing that removes attributes between them")
		})
	}
	return true
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
	if windows < 1 || (r.to-r.from)%windows != 0 {
		return false
	}
	r.window = (r.to - r.from) / windows
	return r.sound()
}

// sound reports whether the run is one of whole windows.
func (r *report) sound() bool {
	return r.window > 0 && isWindow(r.from, r.from+r.window) && r.to > r.from && (r.to-r.from)%r.window == 0
}
