package flowlog

import (
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// StreamCoverage holds what the trail says about itself: for every window a coverage
// record, for every run of windows that can never be read a gap record.
const StreamCoverage = "goldmane-coverage"

// Event names of the coverage stream.
const (
	EventCoverage = "calico.coverage"
	EventGap      = "calico.gap"
)

// Attributes of coverage and gap records, beside FlowStart and FlowEnd, which bound the
// window or the run of windows.
const (
	CoverageStatus = "calico.coverage.status"
	// CoverageFinal is a bool: false where the window will be looked at once more. The
	// final record of a window takes the place of the one before.
	CoverageFinal = "calico.coverage.final"
	// CoverageCause says why a window is not complete, or why windows are missing.
	CoverageCause = "calico.coverage.cause"
	// Counts, ints. CoverageFlows is how many rows Goldmane had for the window when it
	// was last listed, CoverageRecords how many records of the window are in the trail,
	// CoverageLate those of them that are marked late, CoverageMerged the rows that became
	// part of another's record, CoverageDiscarded rows that became none, CoverageRaised
	// the flows whose counters had grown when the window was listed again, and
	// CoverageWithheld the rows that wait to be decided.
	CoverageFlows     = "calico.coverage.flows"
	CoverageRecords   = "calico.coverage.records"
	CoverageLate      = "calico.coverage.late"
	CoverageMerged    = "calico.coverage.merged"
	CoverageDiscarded = "calico.coverage.discarded"
	CoverageRaised    = "calico.coverage.raised"
	CoverageWithheld  = "calico.coverage.withheld"
	// CoveragePairs is how many pairs of workloads sent packets, and CoverageOneSided how
	// many of them only one end had reported when the window was first looked at, ints.
	CoveragePairs    = "calico.coverage.pairs"
	CoverageOneSided = "calico.coverage.one_sided"
	// CoverageWindows is the number of windows in a gap.
	CoverageWindows = "calico.coverage.windows"
)

// Values of CoverageStatus.
const (
	StatusComplete = "complete"
	StatusPartial  = "partial"
	StatusMissing  = "missing" // of gap records
)

// Values of CoverageCause.
const (
	// CauseGoldmaneRestart: Goldmane lost its ring. Windows that nodes sent again are
	// partial, because nobody can say that all nodes did; older ones are missing.
	CauseGoldmaneRestart = "goldmane_restart"
	// CauseRingOverrun: windows left the ring while Goldmane could not be read.
	CauseRingOverrun = "ring_overrun"
	// CauseDownstreamBlocked: windows left the ring while the pipeline took nothing.
	CauseDownstreamBlocked = "downstream_blocked"
	// CauseReceiverDown: windows left the ring while no receiver ran.
	CauseReceiverDown = "receiver_down"
	// CauseRejected: the pipeline rejected records of the window for good.
	CauseRejected = "rejected"
	// CauseNotRechecked: the window was read whole once, and could not be listed again
	// to look for stragglers.
	CauseNotRechecked = "not_rechecked"
	// CauseNodesSilent: of more than a tenth of the window's pairs of workloads, and of
	// three at least, only one end had reported: nodes did not reach Goldmane. What they
	// send later is in the trail, marked late.
	CauseNodesSilent = "nodes_silent"
)

// Coverage is what is known of one window.
type Coverage struct {
	// Start and End bound the window, in seconds since the epoch.
	Start, End int64
	Status     string
	Final      bool
	Cause      string // "" where the status is complete

	Flows, Records, Late, Merged, Discarded, Raised, Withheld int64
	// Pairs are the pairs of workloads with packets, OneSided those that one end reported.
	Pairs, OneSided int64
}

// WriteTo fills lr with the coverage. Like a flow's, the record is a pure function of
// what it says. Its timestamp is the window's start.
func (c *Coverage) WriteTo(lr plog.LogRecord) {
	stage := "settled"
	if c.Final {
		stage = "final"
	}
	line := append(appendVersion(nil), coverageWord+" "+timeOf(c.Start)...)
	for _, field := range [...]string{timeOf(c.End), c.Status, stage, "cause"} {
		line = append(append(line, ' '), field...)
	}
	line = appendOrEmpty(append(line, ' '), c.Cause)
	m := head(lr, EventCoverage, c.Start, c.Start, c.End)
	m.PutStr(CoverageStatus, c.Status)
	m.PutBool(CoverageFinal, c.Final)
	putStr(m, CoverageCause, c.Cause)
	for _, count := range [...]struct {
		word, key string
		n         int64
	}{
		{"flows", CoverageFlows, c.Flows},
		{"records", CoverageRecords, c.Records},
		{"late", CoverageLate, c.Late},
		{"merged", CoverageMerged, c.Merged},
		{"discarded", CoverageDiscarded, c.Discarded},
		{"raised", CoverageRaised, c.Raised},
		{"withheld", CoverageWithheld, c.Withheld},
		{"pairs", CoveragePairs, c.Pairs},
		{"one_sided", CoverageOneSided, c.OneSided},
	} {
		m.PutInt(count.key, count.n)
		line = append(append(append(line, ' '), count.word...), ' ')
		line = strconv.AppendInt(line, count.n, 10)
	}
	lr.Body().SetStr(string(line))
}

// Gap is a run of windows that can never be read.
type Gap struct {
	// From and To bound the run, in seconds since the epoch; To is not in it.
	From, To int64
	// Window is the length of a window, in seconds.
	Window int64
	Cause  string
}

// Windows is the number of windows in the gap.
func (g *Gap) Windows() int64 { return (g.To - g.From) / g.Window }

// WriteTo fills lr with the gap. Its timestamp is the start of the last window in it:
// a gap may begin longer ago than Loki takes entries.
func (g *Gap) WriteTo(lr plog.LogRecord) {
	m := head(lr, EventGap, g.To-g.Window, g.From, g.To)
	m.PutStr(CoverageStatus, StatusMissing)
	m.PutBool(CoverageFinal, true)
	m.PutStr(CoverageCause, g.Cause)
	m.PutInt(CoverageWindows, g.Windows())
	lr.Body().SetStr(gapText + timeOf(g.From) + " " + timeOf(g.To) + " missing final cause " + g.Cause +
		" windows " + strconv.FormatInt(g.Windows(), 10))
}

func head(lr plog.LogRecord, event string, at, start, end int64) pcommon.Map {
	lr.SetTimestamp(pcommon.NewTimestampFromTime(time.Unix(at, 0)))
	lr.SetEventName(event)
	m := lr.Attributes()
	m.EnsureCapacity(16)
	m.PutInt(FlowStart, start)
	m.PutInt(FlowEnd, end)
	return m
}

func timeOf(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
