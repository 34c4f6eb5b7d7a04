package edgesconnector

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/goldtrail/goldtrail/connector/edgesconnector/internal/metadatatest"
	"github.com/goldtrail/goldtrail/internal/flowlog"
)

const (
	src  = flowlog.ReporterSource
	dst  = flowlog.ReporterDestination
	both = flowlog.ReporterBoth

	hourWindows = 240
)

func TestRollupIsSaidWhenItCanNoLongerChange(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	r.give(flows(flow(0, "a", "b", both, 100), notCounted(flow(0, "a", "b", dst, 5)), flow(3, "a", "b", src, 10), flow(7, "x", "b", dst, 1)))
	r.at(hourStart + 3500)
	r.give(covers(0, hourWindows, flowlog.StatusComplete, false))
	r.at(hourStart + 3600)
	r.say()
	assert.Empty(t, r.sink.rollups(t, flowlog.StreamEdges), "no window is final")

	r.give(covers(0, hourWindows-1, flowlog.StatusComplete, true))
	r.say()
	assert.Empty(t, r.sink.rollups(t, flowlog.StreamEdges), "the last window is not final")

	r.give(covers(hourWindows-1, hourWindows, flowlog.StatusPartial, true))
	r.say()
	got := r.sink.rollups(t, flowlog.StreamEdges)
	require.Len(t, got, 2)
	rollup := got[edgeInterval{flowlog.Edge{Source: "a", Destination: "b", Port: 8080, Transport: "tcp", Action: "allow"}, hourStart}]
	rollup.Sequence = 0
	assert.Equal(t, flowlog.Rollup{
		Edge:  flowlog.Edge{Source: "a", Destination: "b", Port: 8080, Transport: "tcp", Action: "allow"},
		Start: hourStart, End: hourStart + 3600, Final: true,
		Sum: flowlog.Sum{Flows: 2, Counters: flowlog.Counters{
			SourcePackets: 2, SourceBytes: 110, DestinationPackets: 4, DestinationBytes: 220, ConnectionsStarted: 6, ConnectionsCompleted: 2,
		}},
		Windows: 2, Complete: 239, Total: 240, First: hourStart, Last: hourStart + 60, Policies: []string{"np:default/b/allow#0=allow"},
	}, rollup)
	x := got[edgeInterval{flowlog.Edge{Source: "x", Destination: "b", Port: 8080, Transport: "tcp", Action: "allow"}, hourStart}]
	assert.Equal(t, int64(1), x.SourceBytes)

	n := len(r.sink.all(flowlog.StreamEdges))
	r.say()
	assert.Len(t, r.sink.all(flowlog.StreamEdges), n, "said once")
	assert.Empty(t, r.sink.all(flowlog.StreamEdgesDaily), "the day is not over")
	for _, logs := range r.sink.took {
		cluster, _ := logs.ResourceLogs().At(0).Resource().Attributes().Get(flowlog.ClusterName)
		assert.Equal(t, "test", cluster.Str())
	}
}

func TestRollupIsSaidAfterAGraceWhereWindowsStayUnknown(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	r.at(hourStart + 3500)
	r.give(flows(flow(230, "a", "b", src, 100), flow(230, "x", "b", dst, 7)))
	grace := int64(graceWindows * windowLength)
	r.at(hourStart + 3500 + grace - 1)
	r.say()
	require.Empty(t, r.sink.rollups(t, flowlog.StreamEdges))
	r.at(hourStart + 3500 + grace)
	r.say()
	got := r.sink.rollups(t, flowlog.StreamEdges)
	require.Len(t, got, 2)
	for in, rollup := range got {
		assert.True(t, rollup.Final)
		assert.Zero(t, rollup.Complete)
		assert.Equal(t, map[string]int64{"a": 100, "x": 7}[in.edge.Source], rollup.SourceBytes)
	}

	// What comes later amends it, when it is quiet again.
	r.give(flows(flow(231, "a", "b", src, 1000), flow(230, "x", "b", src, 8)))
	r.say()
	require.Len(t, r.sink.all(flowlog.StreamEdges), 4, "two rollups, two events")
	r.at(hourStart + 3500 + 2*grace)
	r.say()
	for in, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
		assert.Equal(t, map[string]int64{"a": 1100, "x": 15}[in.edge.Source], rollup.SourceBytes)
	}
}

func TestLateFlowsAmendWhatWasFinal(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	r.at(hourStart + 3700)
	r.give(flows(flow(239, "a", "b", src, 100)))
	r.give(covers(0, hourWindows, flowlog.StatusComplete, true))
	r.say()
	late := flow(239, "a", "b", src, 7)
	late.Late = true
	r.give(flows(late, notCounted(flow(239, "a", "b", dst, 3))))
	r.say()
	got := r.sink.rollups(t, flowlog.StreamEdges)
	require.Len(t, got, 1)
	for _, rollup := range got {
		assert.Equal(t, int64(107), rollup.SourceBytes)
		assert.Equal(t, int64(2), rollup.Flows)
	}
	lines := r.sink.all(flowlog.StreamEdges)
	require.Len(t, lines, 3)
}

func TestShutdownSaysWhatIsNotOver(t *testing.T) {
	r := newRig(t).withStorage().start()
	r.at(hourStart + 100)
	r.give(flows(flow(2, "a", "b", src, 100), flow(3, "x", "b", dst, 5)))
	r.shutdown()
	for _, stream := range streams {
		got := r.sink.rollups(t, stream)
		require.Len(t, got, 2, stream)
		for in, rollup := range got {
			assert.False(t, rollup.Final)
			assert.Equal(t, map[string]int64{"a": 100, "x": 5}[in.edge.Source], rollup.SourceBytes)
		}
	}
	for _, logs := range r.sink.took {
		for _, lr := range logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
			assert.LessOrEqual(t, lr.Timestamp().AsTime().Unix(), r.clock.Now().Unix(), "Loki takes nothing of the future")
		}
	}

	r.start()
	r.give(flows(flow(4, "a", "b", src, 20)))
	r.give(covers(0, hourWindows, flowlog.StatusComplete, true))
	r.at(hourStart + 3600)
	r.say()
	for in, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
		assert.True(t, rollup.Final)
		assert.Equal(t, map[string]int64{"a": 120, "x": 5}[in.edge.Source], rollup.SourceBytes)
	}
	r.shutdown()
}

func TestExactRepeatsCountOnce(t *testing.T) {
	r := newRig(t).start()
	batch := func() {
		r.give(flows(flow(0, "a", "b", src, 100), flow(0, "a", "b", src, 50), flow(0, "x", "b", dst, 9)))
	}
	batch()
	batch()
	r.give(covers(0, 1, flowlog.StatusComplete, false))
	r.give(covers(0, 1, flowlog.StatusComplete, true))
	batch() // after a crash of the receiver between its last word and its note of it
	r.give(covers(0, 1, flowlog.StatusComplete, true))
	metadatatest.AssertEqualEdgesRecordsRepeated(t, r.telemetry, []metricdata.DataPoint[int64]{{Value: 6}},
		metricdatatest.IgnoreTimestamp())
	r.shutdown()
	got := r.sink.rollups(t, flowlog.StreamEdges)
	for in, rollup := range got {
		assert.Equal(t, map[string]int64{"a": 150, "x": 9}[in.edge.Source], rollup.SourceBytes)
		assert.Equal(t, int64(1), rollup.Complete)
	}
	require.Len(t, got, 2)
}

// Whatever the order in which records come, sums are those of the records. Hours add up
// to days.
func TestRollupsAddUp(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t).start()
	sums := expect()
	const windows = 3 * hourWindows
	give := func(w int64, final bool) {
		var all []flowlog.Flow
		for range random.IntN(6) {
			reporter := []string{src, dst, both}[random.IntN(3)]
			f := flow(w, fmt.Sprint("s", random.IntN(3)), fmt.Sprint("d", random.IntN(2)), reporter, random.Int64N(1000))
			f.Late, f.Counts = final, random.IntN(5) > 0
			all = append(all, f)
			if random.IntN(10) == 0 {
				all = append(all, f) // again, exactly
			}
		}
		for i := range all {
			sums.add(&all[i])
		}
		r.give(flows(all...))
		r.give(covers(w, w+1, flowlog.StatusComplete, final))
	}
	for w := range int64(windows + 24) {
		r.at(hourStart + w*windowLength)
		if w < windows {
			give(w, false)
		}
		if w >= 24 {
			give(w-24, true)
		}
		if w%7 == 0 {
			r.say()
		}
	}
	r.say()
	for g, windows := range map[grain]int64{quarters: hourWindows / 4, wholes: hourWindows} {
		for _, rollup := range r.sink.rollups(t, streams[g]) {
			assert.True(t, rollup.Final)
			assert.Equal(t, windows, rollup.Complete)
			assert.Equal(t, windows, rollup.Total)
		}
	}
	require.Empty(t, r.sink.all(flowlog.StreamEdgesDaily))
	r.shutdown()
	sums.require(t, r.sink)
}

// Who reads rollups of an interval must know that they are all there.
func TestIntervalIsClosedWhenAllIsSaid(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	const edges = 2*mostRecords + 100
	give := func(late bool) {
		all := make([]flowlog.Flow, 0, edges)
		for n := range edges {
			f := flow(hourWindows-1, fmt.Sprint("s", n), "b", src, 1)
			f.Late = late
			all = append(all, f)
		}
		r.give(flows(all...))
	}
	give(false)
	r.give(covers(0, hourWindows, flowlog.StatusComplete, true))
	r.at(hourStart + 3700)
	r.say()
	closed := r.sink.closings(t, flowlog.StreamEdges)
	require.Len(t, closed, 1)
	first := closed[hourStart]
	assert.Equal(t, flowlog.Closing{Start: hourStart, End: hourStart + 3600, Sequence: first.Sequence, Edges: edges, Complete: 240, Total: 240}, first)
	assert.Len(t, r.sink.closings(t, flowlog.StreamEdgesQuarters), 4, "those without an edge as well")
	assert.Empty(t, r.sink.closings(t, flowlog.StreamEdgesDaily))
	r.say()
	require.Equal(t, closed, r.sink.closings(t, flowlog.StreamEdges), "once")

	// Amended, it is closed again, when all of that is said.
	r.sink.setRefuse(errors.New("busy"))
	give(true)
	r.say()
	require.Equal(t, closed, r.sink.closings(t, flowlog.StreamEdges))
	r.sink.setRefuse(nil)
	r.say()
	assert.Greater(t, r.sink.closings(t, flowlog.StreamEdges)[hourStart].Sequence, first.Sequence)
}

// Where a rollup is lost for good, no reader may think that all are there.
func TestIntervalThatLacksRollupsIsNotClosed(t *testing.T) {
	r := newRig(t).withStorage().start()
	r.give(flows(flow(0, "a", "b", src, 1)))
	r.shutdown() // what is not final does not matter
	r.start()
	r.sink.setRefuseOf("rollup ", consumererror.NewPermanent(errors.New("never"))) // before the clock, which has it say by itself
	r.give(covers(0, hourWindows, flowlog.StatusComplete, true))
	r.at(hourStart + 3700)
	r.say()
	r.sink.setRefuse(nil)
	r.crash()
	r.start()
	r.say()
	assert.NotContains(t, r.sink.closings(t, flowlog.StreamEdges), hourStart)
	assert.NotContains(t, r.sink.closings(t, flowlog.StreamEdgesQuarters), hourStart)
	r.give(flows(flow(hourWindows, "a", "b", src, 2)))
	r.give(covers(hourWindows, 2*hourWindows, flowlog.StatusComplete, true))
	r.at(hourStart + 7300)
	r.say()
	assert.Contains(t, r.sink.closings(t, flowlog.StreamEdges), hourStart+3600)
	r.shutdown()
}

// Loki takes nothing of a stream that is an hour older than the newest: no interval
// overtakes one that waits, as the first one might, of which Goldmane had but the end.
func TestIntervalsAreSaidInOrder(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	starts := func() (starts []int64) {
		for start := range r.sink.closings(t, flowlog.StreamEdgesQuarters) {
			starts = append(starts, (start-hourStart)/900)
		}
		slices.Sort(starts)
		return starts
	}
	const quarter = hourWindows / 4
	// From the last minute of a quarter on; and of the next one nothing is known for a minute.
	r.at(hourStart + 3*900)
	r.give(flows(flow(quarter-4, "a", "b", src, 1), flow(quarter, "a", "b", src, 1), flow(2*quarter, "a", "b", src, 1)))
	r.give(covers(quarter-4, 2*quarter-4, flowlog.StatusComplete, true))
	r.give(covers(2*quarter, 3*quarter, flowlog.StatusComplete, true))
	r.say()
	assert.Equal(t, []int64{0}, starts(), "what is older than all there is, is not waited for")
	r.at(hourStart + 3*900 + graceWindows*windowLength)
	r.say()
	assert.Equal(t, []int64{0, 1, 2}, starts())
}

// A quarter need not wait for its hour: that is what it is for.
func TestQuarterIsSaidBeforeItsHour(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	const quarter = hourWindows / 4
	want := expect()
	for w := range int64(quarter + 24) {
		f := flow(w, "a", "b", src, 1+w)
		if w < quarter {
			want.add(&f)
		}
		r.at(f.End)
		r.give(flows(f))
		r.give(covers(w, w+1, flowlog.StatusComplete, false))
		if w >= 24 {
			require.Empty(t, r.sink.all(flowlog.StreamEdgesQuarters), "a window of the quarter is not final")
			r.give(covers(w-24, w-23, flowlog.StatusComplete, true))
			r.say()
		}
	}
	want.require(t, r.sink, quarters)
	for _, rollup := range r.sink.rollups(t, flowlog.StreamEdgesQuarters) {
		assert.True(t, rollup.Final)
		assert.Equal(t, int64(quarter), rollup.Complete)
		assert.Equal(t, int64(quarter), rollup.Total)
		assert.Equal(t, hourStart+900, rollup.End)
	}
	require.Empty(t, r.sink.rollups(t, flowlog.StreamEdges))
	for _, logs := range r.sink.took {
		for _, lr := range logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
			assert.LessOrEqual(t, lr.Timestamp().AsTime().Unix(), r.clock.Now().Unix(), "Loki takes little of the future")
		}
	}
}

// As long as a flow counts for its hour it counts for its quarter: windows of which
// nothing was said stay open, and so does their quarter.
func TestQuartersAreKeptAsLongAsTheirHour(t *testing.T) {
	r := newRig(t).start()
	want := expect()
	give := func(f flowlog.Flow) {
		want.add(&f)
		r.give(flows(f))
		r.say()
	}
	give(flow(0, "a", "b", src, 1))
	r.at(hourStart + 900 + graceWindows*windowLength)
	r.say()
	require.Len(t, r.sink.all(flowlog.StreamEdgesQuarters), 1)
	// The quarter has been over for 90 min, the hour has not.
	last := int64(hourWindows/4 + keptWindows + 1)
	r.at(hourStart + last*windowLength)
	give(flow(last, "a", "b", src, 2))
	give(flow(1, "a", "b", src, 4))
	r.connector.mu.Lock()
	assert.Len(t, r.connector.state.Clusters[0].Intervals[quarters], 2)
	r.connector.mu.Unlock()
	// Now the hour has, too.
	last = hourWindows + keptWindows + 1
	r.at(hourStart + last*windowLength)
	r.say()
	give(flow(last, "a", "b", src, 8))
	r.connector.mu.Lock()
	assert.NotContains(t, r.connector.state.Clusters[0].Intervals[quarters], hourStart)
	assert.NotContains(t, r.connector.state.Clusters[0].Intervals[wholes], hourStart)
	r.connector.mu.Unlock()
	r.give(flows(flow(2, "a", "b", src, 16))) // too old for either
	r.shutdown()
	want.require(t, r.sink)
}

func TestDayIsSaid(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	want := expect()
	for hour := range int64(24) {
		f := flow(hour*hourWindows+5, "a", "b", src, 1+hour)
		want.add(&f)
		r.at(f.End + 3600)
		r.give(flows(f))
		r.give(covers(hour*hourWindows, (hour+1)*hourWindows, flowlog.StatusComplete, true))
		r.say()
	}
	want.require(t, r.sink)
	for _, rollup := range r.sink.rollups(t, flowlog.StreamEdgesDaily) {
		assert.True(t, rollup.Final)
		assert.Equal(t, int64(24*hourWindows), rollup.Complete)
		assert.Equal(t, int64(24*hourWindows), rollup.Total)
	}
	assert.Len(t, r.sink.rollups(t, flowlog.StreamEdges), 24)
}

func TestGapIsCovered(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	r.at(hourStart + 3600)
	r.give(flows(flow(0, "a", "b", src, 1)))
	r.give(covers(0, 100, flowlog.StatusComplete, true))
	r.give(gap(100, 400))
	r.give(gap(100, 400))
	r.say()
	for _, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
		assert.True(t, rollup.Final)
		assert.Equal(t, int64(100), rollup.Complete)
		return
	}
	require.Fail(t, "all windows have their final word")
}

func TestRefusalHoldsNothingUp(t *testing.T) {
	r := newRig(t).withStorage().start()
	r.at(hourStart + 3600)
	r.sink.setRefuse(errors.New("busy"))
	r.give(flows(flow(0, "a", "b", src, 1)))
	r.give(covers(0, hourWindows, flowlog.StatusComplete, true))
	r.say()
	r.give(flows(flow(hourWindows, "a", "b", src, 1)))
	r.say()
	require.Empty(t, r.sink.took)
	refusals, err := r.telemetry.GetMetric("goldtrail_edges_refusals")
	require.NoError(t, err)
	assert.GreaterOrEqual(t, refusals.Data.(metricdata.Sum[int64]).DataPoints[0].Value, int64(2))
	r.sink.setRefuse(nil)
	r.say()
	require.Len(t, r.sink.rollups(t, flowlog.StreamEdges), 1)
	require.Len(t, r.sink.events(t), 1)

	// For good: it is counted, and not said again.
	r.sink.setRefuse(consumererror.NewPermanent(errors.New("never")))
	r.give(flows(flow(hourWindows, "a", "b", src, 2)))
	r.give(covers(hourWindows, 2*hourWindows, flowlog.StatusComplete, true))
	r.at(hourStart + 7200)
	r.say()
	r.sink.setRefuse(nil)
	r.say()
	require.Len(t, r.sink.rollups(t, flowlog.StreamEdges), 1)
	r.shutdown()
}

func TestRefusedForDaysIsGivenUpAndCounted(t *testing.T) {
	r := newRig(t).start()
	r.sink.setRefuse(errors.New("busy"))
	const hour = int64(hourWindows)
	for h := range int64(24 * 8) {
		r.at(hourStart + (h+1)*3600)
		r.give(flows(flow(h*hour, "a", "b", src, 1)))
		r.give(covers(h*hour, (h+1)*hour, flowlog.StatusComplete, true))
	}
	r.connector.mu.Lock()
	assert.Len(t, r.connector.state.Clusters[0].Intervals[wholes], 24*7+1)
	assert.Less(t, len(r.connector.state.Clusters[0].Windows), 24*8*240)
	r.connector.mu.Unlock()
	got, err := r.telemetry.GetMetric("goldtrail_edges_records_lost")
	require.NoError(t, err)
	lost := map[string]int64{}
	for _, p := range got.Data.(metricdata.Sum[int64]).DataPoints {
		kind, _ := p.Attributes.Value("kind")
		lost[kind.AsString()] = p.Value
	}
	assert.Equal(t, map[string]int64{"quarter": 24, "rollup": 24 - 1}, lost, "a first quarter is over before its hour")
	r.shutdown()
}

func TestOriginsAreKeptApart(t *testing.T) {
	r := newRig(t).start()
	one, other := flows(flow(0, "a", "b", src, 1)), flows(flow(0, "a", "b", src, 2))
	other.ResourceLogs().At(0).Resource().Attributes().PutStr(flowlog.ClusterName, "other")
	other.ResourceLogs().MoveAndAppendTo(one.ResourceLogs())
	r.give(one)
	r.shutdown()
	bytes := map[string]string{}
	for _, logs := range r.sink.took {
		resource := logs.ResourceLogs().At(0)
		stream, _ := resource.Resource().Attributes().Get(flowlog.ServiceName)
		cluster, _ := resource.Resource().Attributes().Get(flowlog.ClusterName)
		if rollup, err := flowlog.ParseRollup(resource.ScopeLogs().At(0).LogRecords().At(0).Body().Str()); err == nil {
			bytes[stream.Str()+" "+cluster.Str()] += fmt.Sprint(rollup.SourceBytes)
		}
	}
	assert.Equal(t, map[string]string{
		"goldmane-edges test": "1", "goldmane-edges other": "2", "goldmane-edges-daily test": "1", "goldmane-edges-daily other": "2",
		"goldmane-edges-quarters test": "1", "goldmane-edges-quarters other": "2",
	}, bytes)
}

func TestOddRecordsAreCounted(t *testing.T) {
	r := newRig(t).start()
	defer r.shutdown()
	none, endless, ahead := flow(0, "a", "b", src, 1), flow(0, "a", "b", src, 2), flow(1000, "a", "b", src, 3)
	none.Start, none.End = 0, 0
	endless.End = endless.Start + 1e9
	r.give(flows(none, endless, ahead))
	bad := covers(0, 1, flowlog.StatusComplete, true)
	bad.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().Remove(flowlog.FlowStart)
	r.give(bad)
	alien := flows(flow(0, "a", "b", src, 1))
	alien.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).SetEventName("other")
	r.give(alien)
	r.at(hourStart + 10*86400)
	r.give(flows(flow(10*24*hourWindows-10, "a", "b", src, 1), flow(0, "a", "b", src, 1)))
	assert.Equal(t, map[string]int64{"malformed": 3, "future": 1, "too_old": 1}, r.discarded())
}

// What does not count is as if it had not come.
func TestWhatDoesNotCount(t *testing.T) {
	told := flows(flow(0, "a", "b", src, 1))
	recordOf := func(logs plog.Logs) plog.LogRecord {
		return logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
	}
	without := func(change func(plog.LogRecord)) plog.Logs {
		logs := flows(flow(1, "x", "b", src, 10))
		change(recordOf(logs))
		return logs
	}
	for name, test := range map[string]struct {
		logs      plog.Logs
		discarded map[string]int64
		warning   string
	}{
		"a record that says so":                           {logs: flows(notCounted(flow(1, "x", "b", src, 10)))},
		"a record that says so, of an edge that is there": {logs: flows(notCounted(flow(1, "a", "b", dst, 10)))},
		"a preview": {logs: without(func(lr plog.LogRecord) { lr.SetEventName(flowlog.EventPreview) })},
		"a record that does not say": {
			without(func(lr plog.LogRecord) { lr.Attributes().Remove(flowlog.FlowCounts) }),
			map[string]int64{"no_counts": 2},
			"Flow records do not say whether they count",
		},
		"a record that says it otherwise": {
			without(func(lr plog.LogRecord) { lr.Attributes().PutStr(flowlog.FlowCounts, "true") }),
			map[string]int64{"no_counts": 2},
			"Flow records do not say whether they count",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).withStorage()
			r.sink.setRefuse(errors.New("busy"))
			r.start()
			r.give(told)
			stored := r.storage.all()
			r.give(test.logs)
			r.give(test.logs)
			assert.Equal(t, stored, r.storage.all())
			if test.discarded != nil {
				assert.Equal(t, test.discarded, r.discarded())
			}
			said := r.warnings.FilterMessageSnippet("Flow records")
			if test.warning == "" {
				assert.Empty(t, said.All())
			} else {
				assert.Len(t, said.FilterMessageSnippet(test.warning).All(), 1, "it is said once")
			}
			r.sink.setRefuse(nil)
			r.shutdown()
			want := expect()
			one := flow(0, "a", "b", src, 1)
			want.add(&one)
			want.require(t, r.sink)
			assert.Len(t, r.sink.events(t), 1)
			for _, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
				assert.Equal(t, one.End, rollup.Last)
			}
		})
	}
}

// What nobody has confirmed is neither allowed nor denied: it is an edge of its own.
func TestUnconfirmedIsAnEdgeOfItsOwn(t *testing.T) {
	r := newRig(t).start()
	want := expect()
	for i, action := range []string{flowlog.ActionUnconfirmed, flowlog.ActionAllow, flowlog.ActionDeny} {
		f := flow(0, "a", "b", src, int64(1+i))
		f.Action = action
		want.add(&f)
		r.give(flows(f))
	}
	r.shutdown()
	want.require(t, r.sink)
	require.Len(t, want.windows, 3)
	events := map[string]bool{}
	for _, e := range r.sink.events(t) {
		events[e.Action] = true
	}
	assert.Equal(t, map[string]bool{"allow": true, "deny": true, "unconfirmed": true}, events)
}

func TestPoliciesAreBounded(t *testing.T) {
	r := newRig(t).start()
	for i := range mostPolicies + 3 {
		f := flow(int64(i), "a", "b", src, 1)
		f.Deciding = fmt.Sprintf("np:default/b/p%02d#0=allow", i%(mostPolicies+2))
		r.give(flows(f))
	}
	r.shutdown()
	for _, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
		assert.Len(t, rollup.Policies, mostPolicies)
		assert.IsIncreasing(t, rollup.Policies)
		assert.Equal(t, int64(2), rollup.PoliciesMore)
	}
}
