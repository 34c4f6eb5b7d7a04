package trail

import (
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// What is said of a range without data must be so. The trail begins at 05:42:45, has a
// hole, and reaches until 08:00:15; where it begins is known to the hour at first.
func TestNoData(t *testing.T) {
	m := &memory{}
	for _, run := range [][2]string{{"05:42:45", "06:30:00"}, {"07:00:00", "08:00:15"}} {
		for start := at(t, run[0]); start < at(t, run[1]); start += defaultWindow {
			m.flow(start, "web", false)
			m.covered(start, 1, 0, true)
		}
	}
	const trailHas = `the trail of cluster "" has nothing from 2026-11-22T`
	for _, tt := range []struct{ now, from, to, says string }{
		{"08:01:00", "05:00:00", "05:30:00", "05:00:00Z to 2026-11-22T05:30:00Z: it begins at 2026-11-22T05:42:45Z; ask for a later time"},
		{"08:01:00", "04:30:00", "04:59:00", "04:30:00Z to 2026-11-22T04:59:00Z: it begins at 2026-11-22T05:42:45Z; ask for a later time"},
		{"08:01:00", "06:40:00", "06:50:00", "06:40:00Z to 2026-11-22T06:50:00Z: it reaches until 2026-11-22T06:30:00Z, and goes on at 2026-11-22T07:00:00Z; ask for a longer time, and `goldtrail coverage` says what is missing"},
		{"08:01:00", "08:00:30", "08:01:00", "08:00:30Z to 2026-11-22T08:01:00Z yet: a window is there about 75 s after its start, and it reaches until 2026-11-22T08:00:15Z; ask for a longer time"},
		{"08:30:00", "08:29:30", "08:30:00", "08:29:30Z to 2026-11-22T08:30:00Z, nor after: it reaches until 2026-11-22T08:00:15Z; check that the collector runs, and writes to this Loki (its exporter's endpoint and tenant)"},
	} {
		trail := &Trail{Source: m, Clock: clockwork.NewFakeClockAt(time.Unix(at(t, tt.now), 0))}
		_, err := trail.Edges(t.Context(), &EdgesQuestion{Span: unix(at(t, tt.from), at(t, tt.to))})
		var nothing *NoDataError
		require.ErrorAs(t, err, &nothing)
		assert.Equal(t, trailHas+tt.says, err.Error())
	}
	trail := &Trail{Source: &memory{}, Clock: clockwork.NewFakeClockAt(time.Unix(at(t, "08:00:00"), 0))}
	_, err := trail.Edges(t.Context(), &EdgesQuestion{Span: unix(at(t, "07:00:00"), at(t, "08:00:00"))})
	assert.ErrorContains(t, err, "nor after: check that the collector writes to this Loki (its exporter's endpoint and tenant), and the cluster's name")
}

// A range that begins amid a window of another length than Goldmane's default is widened.
func TestLongerWindows(t *testing.T) {
	m := &memory{}
	for start := at(t, "07:00:00"); start < at(t, "07:20:00"); start += 30 {
		m.flow(start, "web", false) // somewhere in the first half of the window
		c := flowlog.Coverage{Start: start, End: start + 30, Status: flowlog.StatusComplete, Final: true, Flows: 1, Records: 1}
		m.write(flowlog.StreamCoverage, c.WriteTo)
	}
	trail := &Trail{Source: m, Clock: clockwork.NewFakeClockAt(time.Unix(at(t, "08:00:00"), 0))}
	for verb, c := range coverages(t, trail, "07:05:15", "07:10:15") {
		assert.Equal(t, int64(11), c.Complete, verb)
		assert.Equal(t, c.Complete, c.Windows, verb)
		assert.Equal(t, at(t, "07:05:00"), c.From.Unix(), verb)
		assert.Equal(t, at(t, "07:10:30"), c.To.Unix(), verb)
	}
	a, err := trail.Edges(t.Context(), &EdgesQuestion{Span: unix(at(t, "07:05:15"), at(t, "07:10:15"))})
	require.NoError(t, err)
	require.Len(t, a.Edges, 1)
	assert.Equal(t, int64(11), a.Edges[0].Flows)
}
