package edgesconnector

import (
	"slices"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// grain is how fine rollups are.
type grain uint8

const (
	quarters grain = iota // a fourth of what is configured
	wholes                // as configured; windows are kept as long as theirs is
	days
	grains // how many there are
)

// streams is where rollups of a grain go.
var streams = [grains]string{flowlog.StreamEdgesQuarters, flowlog.StreamEdges, flowlog.StreamEdgesDaily}

// kinds is what telemetry calls rollups of a grain.
var kinds = [grains]string{"quarter", "rollup", "daily"}

// interval is what is summed up of one interval. Fields are exported for gob.
type interval struct {
	Start, End int64
	Sums       map[uint32]*sum
	// Final, Complete and Closed are how many of its windows are.
	Final, Complete, Closed int64
	// Events counts coverage records that told something new of its windows, Records the
	// flow records in its sums.
	Events, Records int64
	// ClosedAt is the sequence of the closing record that was last handed on. Torn: a rollup
	// was rejected for good, so that there is none.
	ClosedAt int64
	Torn     bool
	// Changed is when something came for it last, on the wall, in seconds since the epoch.
	Changed int64
}

// sum is one edge in an interval. There are as many as edges, up to six times: it
// is kept small.
type sum struct {
	flowlog.Sum
	// Said is the sequence that was last handed on.
	Said uint32
	// Policies are shared by all that have the same.
	Policies      []string
	More, Windows int32
	// First and Last are seconds after the interval's start: the start of the first window
	// and the end of the last.
	First, Last int32
}

// mostPolicies bounds sum.Policies.
const mostPolicies = 8

func newInterval(start, length int64) *interval {
	return &interval{Start: start, End: start + length, Sums: map[uint32]*sum{}}
}

// add adds a flow record to the sum of its edge. first is whether it is the edge's first of
// its window.
func (i *interval) add(edge uint32, o *observation, first bool, names *names) {
	s := i.Sums[edge]
	if s == nil {
		s = &sum{First: int32(o.start - i.Start), Last: int32(o.end - i.Start)}
		i.Sums[edge] = s
	}
	s.Add(&flowlog.Sum{Flows: 1, Counters: o.counters})
	i.Records++
	if first {
		s.Windows++
		s.First, s.Last = min(s.First, int32(o.start-i.Start)), max(s.Last, int32(o.end-i.Start))
	}
	switch {
	case o.deciding == "" || slices.Contains(s.Policies, o.deciding):
	case len(s.Policies) < mostPolicies:
		s.Policies = names.list(append(slices.Clip(s.Policies), o.deciding))
	default:
		s.More++
	}
}

// sequence grows with everything that a rollup of s takes into account.
func (i *interval) sequence(s *sum, final bool) int64 {
	n := 2 * (s.Flows + i.Events)
	if final {
		n++
	}
	return n
}

// windows is how many windows the interval has, of that length: those that begin in it.
func (i *interval) windows(length int64) int64 {
	if length <= 0 {
		return 0
	}
	before := func(end int64) int64 { return (end + length - 1) / length }
	return before(i.End) - before(i.Start)
}

// windowsFrom is how many of them begin at a time or later.
func (i *interval) windowsFrom(begin, length int64) int64 {
	later := interval{Start: min(max(i.Start, begin), i.End), End: i.End}
	return later.windows(length)
}

// over reports whether the interval can no longer change: it has ended, and all of its
// windows are final that are not older than all that the cluster has, or nothing came for
// it for graceWindows.
func (i *interval) over(now int64, c *cluster) bool {
	return now >= i.End && (i.Final >= i.windowsFrom(c.Begin, c.Window) || now-i.Changed >= graceWindows*c.Window)
}

// said reports whether all is said of the interval that can be said.
func (i *interval) said() bool { return i.closedNow() && len(i.unsaid(true)) == 0 }

// unsaid are the edges of which there is something new to say.
func (i *interval) unsaid(final bool) []uint32 {
	var edges []uint32
	for n, s := range i.Sums {
		if int64(s.Said) < i.sequence(s, final) {
			edges = append(edges, n)
		}
	}
	return edges
}

// closing is what there is to say when all final rollups are said.
func (i *interval) closing(window int64) flowlog.Closing {
	return flowlog.Closing{
		Start: i.Start, End: i.End, Sequence: i.Records + i.Events + 1, Edges: int64(len(i.Sums)),
		Complete: i.Complete, Total: i.windows(window),
	}
}

// closedNow reports whether nothing has come since the closing record, or none can be said.
func (i *interval) closedNow() bool { return i.Torn || i.ClosedAt > i.Records+i.Events }

// rollup is what there is to say of an edge.
func (i *interval) rollup(e *flowlog.Edge, s *sum, final bool, c *cluster) flowlog.Rollup {
	r := flowlog.Rollup{
		Edge: *e, Start: i.Start, End: i.End, Final: final, Sequence: i.sequence(s, final),
		AsOf: min(i.End, c.Newest), Sum: s.Sum,
		Windows: int64(s.Windows), Complete: i.Complete, Total: i.windows(c.Window),
		First: i.Start + int64(s.First), Last: i.Start + int64(s.Last),
		Policies: slices.Clone(s.Policies), PoliciesMore: int64(s.More),
	}
	slices.Sort(r.Policies)
	return r
}
