package trail

import (
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// retained is an hour of coverage, of which flow records are left from 06:15 on. Its
// windows were listed twice.
func retained(t *testing.T) (*memory, *Trail) {
	t.Helper()
	m := &memory{}
	for start := at(t, "06:00:00"); start < at(t, "07:00:00"); start += defaultWindow {
		m.covered(start, 1, 0, false)
		m.covered(start, 1, 0, true)
		if start >= at(t, "06:15:00") {
			m.flow(start, "web", false)
		}
	}
	return m, &Trail{Source: m, Clock: clockwork.NewFakeClockAt(time.Unix(at(t, "08:00:00"), 0))}
}

// coverages are what the verbs say of the same range.
func coverages(t *testing.T, trail *Trail, from, to string) map[string]Coverage {
	t.Helper()
	span := unix(at(t, from), at(t, to))
	edges, err := trail.Edges(t.Context(), &EdgesQuestion{Span: span})
	require.NoError(t, err)
	flows, err := trail.Flows(t.Context(), &FlowsQuestion{Span: span})
	require.NoError(t, err)
	coverage, err := trail.Coverage(t.Context(), span)
	require.NoError(t, err)
	return map[string]Coverage{"edges": edges.Coverage, "flows": flows.Coverage, "coverage": coverage.Coverage}
}

func TestFlowRecordsThatAreGoneAreMissing(t *testing.T) {
	_, trail := retained(t)
	for _, tt := range []struct {
		from, to string
		gone     int64
	}{
		{"06:00:00", "07:00:00", 60}, {"06:10:00", "06:20:00", 20}, {"06:00:00", "06:15:00", 60}, {"06:14:45", "06:15:15", 1}, {"06:15:00", "06:30:00", 0},
	} {
		for verb, c := range coverages(t, trail, tt.from, tt.to) {
			assert.Equal(t, tt.gone, c.Missing, "%s %s–%s", verb, tt.from, tt.to)
			assert.Equal(t, c.Windows, c.Complete+c.Missing)
			if assert.Len(t, c.Holes, int(min(tt.gone, 1)), "%s", verb) && tt.gone > 0 {
				assert.Equal(t, CauseGone, c.Holes[0].Cause)
				assert.Equal(t, unix(at(t, tt.from), 0).From.UTC(), c.Holes[0].From)
			}
		}
	}
}

// Where nothing is gone it takes one question to know.
func TestNothingGoneIsFoundQuickly(t *testing.T) {
	m, trail := retained(t)
	small := func() (n int) {
		for _, q := range m.reads() {
			if q.Stream == flowlog.StreamFlows && q.Limit == 1 {
				n += len(q.Spans)
			}
		}
		return n
	}
	_, err := trail.Coverage(t.Context(), unix(at(t, "06:15:00"), at(t, "07:00:00")))
	require.NoError(t, err)
	before := small()
	assert.LessOrEqual(t, before, 2, "and one is for where the trail begins")
	_, err = trail.Coverage(t.Context(), unix(at(t, "06:00:00"), at(t, "07:00:00")))
	require.NoError(t, err)
	t.Logf("%d small questions to find the end of what is gone", small()-before)
	assert.Less(t, small()-before, 30)
}

func TestWhatNeverWasIsNotGone(t *testing.T) {
	for name, write := range map[string]func(m *memory, start int64){
		"no flows": func(m *memory, start int64) {
			c := flowlog.Coverage{Start: start, End: start + defaultWindow, Status: flowlog.StatusComplete, Final: true, Flows: 3, Discarded: 3}
			m.write(flowlog.StreamCoverage, c.WriteTo)
		},
		"not decided yet": func(m *memory, start int64) {
			c := flowlog.Coverage{Start: start, End: start + defaultWindow, Status: flowlog.StatusComplete, Flows: 3, Withheld: 3}
			m.write(flowlog.StreamCoverage, c.WriteTo)
		},
		"kept now and then only": func(m *memory, start int64) {
			if start%150 == 30 {
				m.flow(start, "web", false)
			}
			m.covered(start, 1, 0, true)
		},
	} {
		m := &memory{}
		for start := at(t, "06:00:00"); start < at(t, "07:00:00"); start += defaultWindow {
			write(m, start)
		}
		trail := &Trail{Source: m, Clock: clockwork.NewFakeClockAt(time.Unix(at(t, "08:00:00"), 0))}
		for verb, c := range coverages(t, trail, "06:00:00", "07:00:00") {
			assert.Equal(t, int64(240), c.Complete, "%s: %s", name, verb)
		}
	}
	// Records of the last minutes may be on their way, behind those of their coverage.
	m := &memory{}
	m.covered(at(t, "06:58:30"), 1, 0, false)
	trail := &Trail{Source: m, Clock: clockwork.NewFakeClockAt(time.Unix(at(t, "07:00:00"), 0))}
	for verb, c := range coverages(t, trail, "06:58:30", "06:58:45") {
		assert.Zero(t, c.Missing, verb)
	}
}

// Rollups need no flow records, whether they are of an hour without a hole or of one with.
func TestWhatRollupsSumUpIsNotGone(t *testing.T) {
	m, trail := retained(t)
	rollup := func(start, length, complete int64) {
		r := flowlog.Rollup{
			Edge:  flowlog.Edge{Source: "web", Destination: "api", Port: 443, Transport: "tcp", Action: flowlog.ActionAllow},
			Start: start, End: start + length, Final: true, Sequence: 1, AsOf: start + length,
			Windows: 1, Complete: complete, Total: length / defaultWindow, First: start, Last: start + defaultWindow,
		}
		m.write(rollupStream(length), r.WriteTo)
		closing := flowlog.Closing{Start: start, End: start + length, Sequence: 1, Edges: 1, Complete: complete, Total: length / defaultWindow}
		m.write(rollupStream(length), closing.WriteTo)
	}
	// A connector that came late knows of a part of the hour, and of all of one quarter.
	rollup(at(t, "06:00:00"), hour, 180)
	for verb, c := range coverages(t, trail, "06:00:00", "07:00:00") {
		assert.Equal(t, int64(60), c.Missing, verb)
	}
	rollup(at(t, "06:00:00"), quarter, 60)
	got := coverages(t, trail, "06:00:00", "07:00:00")
	assert.Equal(t, int64(60), got["flows"].Missing, "which has no use for rollups")
	assert.Zero(t, got["edges"].Missing)
	assert.Zero(t, got["coverage"].Missing)

	// An hour of which a window was missing, and whose rollups know of all others.
	for start := at(t, "05:00:15"); start < at(t, "06:00:00"); start += defaultWindow {
		m.covered(start, 1, 0, true)
	}
	gap := flowlog.Gap{From: at(t, "05:00:00"), To: at(t, "05:00:15"), Window: defaultWindow, Cause: flowlog.CauseReceiverDown}
	m.write(flowlog.StreamCoverage, gap.WriteTo)
	rollup(at(t, "05:00:00"), hour, 239)
	got = coverages(t, trail, "05:00:00", "06:00:00")
	assert.Equal(t, int64(240), got["flows"].Missing)
	assert.Equal(t, int64(1), got["edges"].Missing)
	assert.Equal(t, int64(1), got["coverage"].Missing)
}
