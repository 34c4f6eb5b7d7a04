package edgesconnector

import (
	"bytes"
	"encoding/gob"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// What version 2 stored: the destination's reports waited in their window for one of the
// source.
type (
	stored2 struct {
		Journal int64
		State   *state2
	}
	state2 struct {
		Version  int
		Settings settings
		Clusters []*cluster2
	}
	cluster2 struct {
		Resource                           []byte
		Window                             int64
		Begin, Newest, Horizon, LearnUntil int64
		Edges                              known2
		Swept                              int64
		Windows                            map[int64]*window2
		Intervals                          [grains]map[int64]*interval2
		Finals                             []int64
	}
	known2 struct {
		List []knownEdge2
		Free []uint32
	}
	knownEdge2 struct {
		flowlog.Edge
		Last int64
		News *news
	}
	window2 struct {
		Start, End       int64
		Status           status
		Final            bool
		Seen             keySet
		Closed           bool
		Present, Sourced bits
		Waiting          []waiting2
	}
	waiting2 struct {
		Edge uint32
		flowlog.Counters
	}
	interval2 struct {
		Start, End              int64
		Sums                    map[uint32]*sum2
		Final, Complete, Closed int64
		Events, Records         int64
		ClosedAt                int64
		Torn                    bool
		Changed                 int64
	}
	sum2 struct {
		flowlog.Sum
		Records, Said uint32
		Policies      []string
		More, Windows int32
		First, Last   int32
	}
)

// A Collector that runs is upgraded in the middle of its fourth hour. The known edges stay, and
// of no hour that may have been written is anything written again.
func TestMigration(t *testing.T) {
	const hour = int64(hourWindows)
	edge := func(destination string) knownEdge2 {
		f := flow(3*hour-1, "a", destination, src, 1)
		return knownEdge2{Edge: edgeOf(&f), Last: f.End}
	}
	pending := edge("d")
	pending.News = &news{Start: pending.Last - windowLength, End: pending.Last, Deciding: "np:default/d/allow#0=allow"}
	gone := edge("gone")
	gone.Last, gone.Edge = 0, flowlog.Edge{}
	resource, err := originOf(flows(flow(0, "a", "b", src, 1)).ResourceLogs().At(0).Resource())
	require.NoError(t, err)
	sums := func() map[uint32]*sum2 {
		return map[uint32]*sum2{0: {Sum: flowlog.Sum{Flows: 5, Counters: flowlog.Counters{SourceBytes: 5000}}, Records: 7, Said: 3, Windows: 5, Last: 900}}
	}
	before := stored2{Journal: 7, State: &state2{
		Version: summedByReporter, Settings: settingsOf(createDefaultConfig().(*Config)),
		Clusters: []*cluster2{{
			Resource: resource, Window: windowLength, Begin: hourStart, Newest: hourStart + 3*hour*windowLength,
			Horizon: hourStart + 3600, LearnUntil: hourStart, Swept: hourStart + 3*hour*windowLength,
			Edges: known2{List: []knownEdge2{edge("b"), edge("c"), gone, pending}, Free: []uint32{2}},
			Windows: map[int64]*window2{hourStart + 3*3600 - 15: {
				Start: hourStart + 3*3600 - 15, End: hourStart + 3*3600, Present: bits{3}, Sourced: bits{1},
				Waiting: []waiting2{{1, flowlog.Counters{SourceBytes: 77}}},
			}},
			Intervals: [grains]map[int64]*interval2{
				quarters: {hourStart + 3*3600 - 900: {Start: hourStart + 3*3600 - 900, End: hourStart + 3*3600, Sums: sums(), Records: 7}},
				wholes: {
					hourStart + 3600: {Start: hourStart + 3600, End: hourStart + 7200, Sums: sums(), Records: 7, ClosedAt: 300, Events: 240},
					hourStart + 7200: {Start: hourStart + 7200, End: hourStart + 3*3600, Sums: sums(), Records: 7},
				},
				days: {hourStart: {Start: hourStart, End: hourStart + secondsADay, Sums: sums(), Records: 7}},
			},
			Finals: []int64{hourStart + 3*3600 - 15},
		}},
	}}
	var b bytes.Buffer
	require.NoError(t, gob.NewEncoder(&b).Encode(before))
	// The journal of version 2, which had whether the source had reported where there are twins
	// now: it leads into the fourth hour, and to a new edge, of which the event was said.
	entry := newEntry(hourStart + 3*3600 + 600)
	entry.cluster(&cluster{Resource: resource})
	f := flow(3*hour+10, "x", "b", src, 1)
	entry.flow(&observation{edge: edgeOf(&f), start: f.Start, end: f.End, key: 1, twin: true}, noted{edge: 2})
	entry.announced(&parcel{edges: []uint32{2}})

	r := newRig(t).withStorage()
	r.storage.values = map[string][]byte{
		snapshotKey: b.Bytes(), journalKey("", 7): entry.b[sealSize:], journalKey("", 8): {0xff}, journalKey("", 9): entry.b[sealSize:],
	}
	r.at(hourStart + 3*3600 + 700)
	r.sink.setRefuse(errors.New("busy"))
	r.start()
	assert.Equal(t, []string{snapshotKey}, slices.Collect(maps.Keys(r.storage.all())), "the journal is deleted, to its end")
	assert.Equal(t, 1, r.warnings.FilterMessageSnippet("Cannot read all that is stored").Len())
	assert.Equal(t, 1, r.warnings.FilterMessageSnippet("the known edges are kept").Len())
	r.crash()
	r.sink.setRefuse(nil)
	r.start()
	assert.Empty(t, r.warnings.All(), "once")

	// The rest of the fourth hour, and a straggler of the third, are written nowhere.
	r.give(flows(flow(3*hour-1, "a", "b", src, 10), flow(3*hour+50, "a", "b", src, 10), flow(3*hour+50, "x", "b", src, 10)))
	r.give(covers(3*hour-30, 4*hour, flowlog.StatusComplete, true))
	assert.Equal(t, 3+30+hour, r.discarded()["too_old"])
	r.at(hourStart + 5*3600 + 600)
	r.give(flows(flow(4*hour, "a", "b", src, 100), flow(4*hour, "x", "b", src, 100), flow(4*hour, "a", "e", src, 100)))
	r.give(covers(4*hour, 5*hour, flowlog.StatusComplete, true))
	r.say()
	events := map[flowlog.Edge]int{}
	for _, e := range r.sink.events(t) {
		events[e.Edge]++
	}
	e := edge("e")
	assert.Equal(t, map[flowlog.Edge]int{pending.Edge: 1, e.Edge: 1}, events, "known edges are not new")
	r.shutdown()

	for _, stream := range []string{flowlog.StreamEdgesQuarters, flowlog.StreamEdges} {
		got := r.sink.rollups(t, stream)
		assert.Len(t, got, 3, stream)
		for in, rollup := range got {
			assert.Equal(t, hourStart+4*3600, in.start, stream)
			assert.Equal(t, int64(100), rollup.SourceBytes)
			assert.True(t, rollup.Final)
		}
		for start := range r.sink.closings(t, stream) {
			assert.GreaterOrEqual(t, start, hourStart+4*3600, stream)
		}
	}
	for _, rollup := range r.sink.rollups(t, flowlog.StreamEdgesDaily) {
		assert.Equal(t, int64(100), rollup.SourceBytes)
		assert.Equal(t, hour, rollup.Complete, "the day's rollup says that it knows of an hour only")
		assert.Equal(t, 24*hour, rollup.Total)
	}
}

// The interval that the newest window belongs to is the last that may have been written.
func TestMigrationBeginsWithAnInterval(t *testing.T) {
	for name, test := range map[string]struct{ newest, horizon, want int64 }{
		"in the middle of one":   {hourStart + 100, 0, hourStart + 3600},
		"at its end":             {hourStart + 3600, hourStart, hourStart + 3600},
		"what was over stays so": {hourStart + 100, hourStart + 7200, hourStart + 7200},
		"nothing had come":       {0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState(settingsOf(createDefaultConfig().(*Config)))
			s.Version = summedByReporter
			c := s.cluster(nil)
			c.Newest, c.Horizon = test.newest, test.horizon
			s.migrate()
			assert.Equal(t, test.want, c.Horizon)
			assert.Equal(t, stateVersion, s.Version)
		})
	}
}
