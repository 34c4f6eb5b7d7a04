package trail

import (
	"fmt"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// Lines of the trail's first version, which had none in front of all but flow records.
func oldFlow(m *memory, start int64) {
	m.line(flowlog.StreamFlows, start+3, "v1 allow old/a-* -> api/api-* 443/tcp both 1/0 3/180 0/0 k3F")
}

func oldCoverage(m *memory, start int64, stage string) {
	m.line(flowlog.StreamCoverage, start, fmt.Sprintf("window %s %s complete %s cause - flows 1 records 1 late 0 merged 0 discarded 0 raised 0",
		time.Unix(start, 0).UTC().Format(time.RFC3339), time.Unix(start+15, 0).UTC().Format(time.RFC3339), stage))
}

func oldRollup(m *memory, start, length int64) {
	from, to := time.Unix(start, 0).UTC().Format(time.RFC3339), time.Unix(start+length, 0).UTC().Format(time.RFC3339)
	m.line(rollupStream(length), start+length-1, "rollup "+from+" "+to+" final 1 allow old -> api 443/tcp flows 240 windows 240 covered 240/240 conns 1/0 sent 3/180 back 0/0 seen "+from+" "+to+" by - more 0")
	m.line(rollupStream(length), start+length-1, "closed "+from+" "+to+" 1 edges 1 covered 240/240")
	m.line(rollupStream(length), start, "first_seen "+from+" allow old -> api 443/tcp by -")
}

// The Collector was upgraded at 07:30, amid an hour: what the old one wrote is left out and
// told of, and ends no question.
func upgraded(t *testing.T) (*memory, *Trail) {
	t.Helper()
	m := &memory{}
	upgrade := at(t, "07:30:00")
	for start := at(t, "05:00:00"); start < upgrade; start += defaultWindow {
		oldFlow(m, start)
		oldCoverage(m, start, "settled")
		if start < upgrade-360 {
			oldCoverage(m, start, "final")
		} else {
			m.covered(start, 1, 0, true)
		}
	}
	for start := at(t, "05:00:00"); start < at(t, "07:00:00"); start += hour {
		oldRollup(m, start, hour)
		for q := start; q < start+hour; q += quarter {
			oldRollup(m, q, quarter)
		}
	}
	for start := upgrade; start < at(t, "08:00:00"); start += defaultWindow {
		m.flow(start, "web", false)
		m.covered(start, 1, 0, true)
	}
	return m, &Trail{Source: m, Clock: clockwork.NewFakeClockAt(time.Unix(at(t, "08:10:00"), 0))}
}

func TestLinesOfAnotherVersion(t *testing.T) {
	m, trail := upgraded(t)
	from, to := "05:00:00", "08:00:00"
	for verb, c := range coverages(t, trail, from, to) {
		assert.Equal(t, int64(120), c.Complete, verb)
		assert.Equal(t, int64(24), c.Partial, "%s: the new one has listed these once more", verb)
		assert.Equal(t, int64(720-144), c.Unrecorded, verb)
		assert.Positive(t, c.Unreadable, verb)
		require.Len(t, c.Holes, 2, verb)
		for _, h := range c.Holes {
			assert.Equal(t, CauseVersion, h.Cause)
		}
	}
	span := unix(at(t, from), at(t, to))
	a, err := trail.Edges(t.Context(), &EdgesQuestion{Span: span})
	require.NoError(t, err)
	require.Len(t, a.Edges, 1)
	assert.Equal(t, int64(120), a.Edges[0].Flows)
	for _, filter := range []Filter{{Denied: true}, {Destination: []string{"api"}}} {
		a, err := trail.Edges(t.Context(), &EdgesQuestion{Span: span, Filter: filter})
		require.NoError(t, err)
		assert.Positive(t, a.Coverage.Unreadable)
	}
	_, err = trail.Peers(t.Context(), &PeersQuestion{Span: span, Service: "api"})
	require.NoError(t, err)
	d, err := trail.Diff(t.Context(), &DiffQuestion{Before: unix(at(t, "07:00:00"), at(t, "07:20:00")), After: unix(at(t, "07:30:00"), at(t, "07:50:00"))})
	require.NoError(t, err)
	assert.Len(t, d.Unclear, 1, "all of the earlier time may hide it")
	assert.Positive(t, d.Before.Unreadable)
	assert.Zero(t, d.After.Unreadable)

	// Of intervals that old rollups sum up flow records are not read: they are old as well.
	for _, q := range m.reads() {
		for _, span := range q.Spans {
			if q.Stream == flowlog.StreamFlows && q.Filter != "" && span.length() > quarter*time.Second && span.length() <= hour*time.Second {
				assert.False(t, span.From.Before(time.Unix(at(t, "07:00:00"), 0)), "%s %s", q.Filter, span.From.UTC())
			}
		}
	}
}

// Where there is nothing but old lines, they are said to be what there is.
func TestNothingButAnotherVersion(t *testing.T) {
	_, trail := upgraded(t)
	for verb, c := range coverages(t, trail, "06:00:00", "07:00:00") {
		assert.Equal(t, []Hole{hole(at(t, "06:00:00"), at(t, "07:00:00"), StatusUnrecorded, CauseVersion, 240)}, c.Holes, verb)
	}
	_, err := trail.Edges(t.Context(), &EdgesQuestion{Span: unix(at(t, "04:00:00"), at(t, "04:30:00"))})
	require.ErrorContains(t, err, "it begins at 2026-11-22T05:00:00Z")
}

// A rollup that a new connector has closed answers, whatever else is there.
func TestANewClosingBesideAnOldOne(t *testing.T) {
	l := newLedger()
	r := &rollups{best: map[edgeInterval]flowlog.Rollup{}, closed: map[int64]flowlog.Closing{}, lumped: map[int64]bool{}, foreign: map[int64]int64{}}
	m := &memory{}
	oldRollup(m, 0, hour)
	oldRollup(m, hour, hour)
	c := flowlog.Closing{Start: 0, End: hour, Sequence: 9, Edges: 1, Complete: 240, Total: 240}
	m.write(flowlog.StreamEdges, c.WriteTo)
	odd := flowlog.Closing{Start: 2 * hour, End: 3 * hour, Sequence: 9, Edges: 1, Complete: 7000, Total: 7000}
	m.write(flowlog.StreamEdges, odd.WriteTo)
	for _, e := range m.entries[flowlog.StreamEdges] {
		r.take(&e, hour, nil)
	}
	assert.Equal(t, []interval{{0, hour}, {2 * hour, 3 * hour}}, merged(r.noteForeign(l, hour, []interval{{0, 3 * hour}})))
	assert.Equal(t, []interval{{hour, 2 * hour}}, l.foreignRollups)
	assert.Equal(t, int64(4), l.unreadable, "and first_seen events are no rollups")
	assert.Zero(t, r.closed[2*hour].Total, "windows are whole seconds")
}

// A Collector that is newer than the one who follows.
func TestFollowTellsOfAnotherVersion(t *testing.T) {
	m := &memory{}
	now := at(t, "07:00:00")
	oldCoverage(m, now-240, "settled")
	m.covered(now-120, 1, 0, false)
	f := follow(t, m, now, 0)
	oldCoverage(m, now-240, "final")
	oldCoverage(m, now-105, "settled")
	m.flow(now-90, "web", false)
	oldFlow(m, now-90)
	m.covered(now-90, 2, 0, false)
	assert.Equal(t, []string{"unrecorded 06:58:15 other_version", "1 unreadable 06:58:30", "06:58:30 web"}, f.tick())
	oldCoverage(m, now-105, "final")
	assert.Empty(t, f.tick(), "a window is told of once")
	m.write(flowlog.StreamCoverage, func(lr plog.LogRecord) {
		(&flowlog.Gap{From: now - 75, To: now - 60, Window: 15, Cause: flowlog.CauseReceiverDown}).WriteTo(lr)
	})
	assert.Equal(t, []string{"missing 06:58:45 receiver_down"}, f.tick())
}
