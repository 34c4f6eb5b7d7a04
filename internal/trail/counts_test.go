package trail

import (
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// uncountedTrail is a window of a pair that the destination denied: it has the destination's
// own record, which counts nowhere, and one of an idle connection; and the next window, of
// which the destination's node said nothing.
func uncountedTrail(t *testing.T) (*memory, *Trail, Span) {
	t.Helper()
	m := &memory{}
	start := at(t, "07:00:00")
	record := func(start int64, source, action, reporter string, packets int64, counts bool) {
		f := flowlog.Flow{
			Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: source, Name: "pod-*"},
			Destination: flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: "api", Name: "api-*"},
			Transport:   "tcp", Port: 443, Action: action, Reporter: reporter, Counts: counts,
			SourceAction: flowlog.ActionAllow,
			Start:        start, End: start + defaultWindow, Counters: flowlog.Counters{SourcePackets: packets, SourceBytes: 60 * packets},
		}
		if reporter == flowlog.ReporterDestination {
			f.SourceAction = ""
		}
		if reporter != flowlog.ReporterSource {
			f.DestinationAction = action
		}
		m.record(&f)
	}
	record(start, "web", flowlog.ActionDeny, flowlog.ReporterSource, 3, true)
	record(start, "web", flowlog.ActionDeny, flowlog.ReporterDestination, 2, false)
	record(start, "idle", flowlog.ActionDeny, flowlog.ReporterDestination, 0, false)
	record(start, "batch", flowlog.ActionAllow, flowlog.ReporterSource, 7, false)
	record(start+defaultWindow, "web", flowlog.ActionUnconfirmed, flowlog.ReporterSource, 5, true)
	m.covered(start, 4, 0, true)
	m.covered(start+defaultWindow, 1, 0, false)
	return m, &Trail{Source: m, Clock: clockwork.NewFakeClockAt(time.Unix(start+3600, 0))}, unix(start, start+2*defaultWindow)
}

func TestSumsAreOfTheRecordsThatCount(t *testing.T) {
	m, trail, span := uncountedTrail(t)
	for _, tt := range []struct {
		filter Filter
		want   map[string]int64 // packets by outcome
	}{
		{Filter{}, map[string]int64{"deny": 3, "unconfirmed": 5}},
		{Filter{Denied: true}, map[string]int64{"deny": 3}},
		{Filter{Unconfirmed: true}, map[string]int64{"unconfirmed": 5}},
		{Filter{Denied: true, Unconfirmed: true}, map[string]int64{"deny": 3, "unconfirmed": 5}},
		{Filter{Source: []string{"idle", "batch"}}, map[string]int64{}},
	} {
		a, err := trail.Edges(t.Context(), &EdgesQuestion{Span: span, Filter: tt.filter})
		require.NoError(t, err)
		got := map[string]int64{}
		for _, e := range a.Edges {
			assert.Equal(t, "web", e.Source)
			assert.Equal(t, int64(1), e.Flows)
			assert.Equal(t, int64(1), e.Windows)
			got[e.Action] = e.SentPackets
		}
		assert.Equal(t, tt.want, got, "%+v", tt.filter)
		assert.Equal(t, len(got), a.Denied+a.Unconfirmed)
		assert.Equal(t, int64(1), a.Coverage.Provisional)
	}
	for _, q := range m.reads() {
		if q.Stream == flowlog.StreamFlows && q.Limit == 0 {
			assert.Contains(t, q.Filter, thatCount, "Loki is spared what does not count")
		}
	}

	peers, err := trail.Peers(t.Context(), &PeersQuestion{Span: span, Service: "api"})
	require.NoError(t, err)
	require.Len(t, peers.In, 1)
	assert.Len(t, peers.In[0].Ports, 2, "denied, and unconfirmed")
}

// What marks a line that does not count is what Loki is asked to leave out.
func TestTheMarkOfWhatDoesNotCount(t *testing.T) {
	line, _ := (&flowlog.Flow{}).AppendLine(nil)
	assert.Contains(t, string(line), " uncounted")
	line, _ = (&flowlog.Flow{Counts: true}).AppendLine(nil)
	assert.NotContains(t, string(line), " uncounted")
	assert.Equal(t, ` != " uncounted"`, thatCount)
}

// All records are shown, and why some are in no sum; but only what counts was denied.
func TestFlowsShowsWhatDoesNotCount(t *testing.T) {
	_, trail, span := uncountedTrail(t)
	a, err := trail.Flows(t.Context(), &FlowsQuestion{Span: span})
	require.NoError(t, err)
	got := map[string]string{}
	for i := range a.Flows {
		got[a.Flows[i].Source+" "+a.Flows[i].Action+" "+a.Flows[i].Reporter] = a.Flows[i].NotCounted
	}
	assert.Equal(t, map[string]string{
		"web deny src":        "",
		"web deny dst":        NotCountedBySource,
		"idle deny dst":       NotCountedNoTraffic,
		"batch allow src":     NotCountedByDestination,
		"web unconfirmed src": "",
	}, got)
	for _, filter := range []Filter{{Denied: true}, {Unconfirmed: true}} {
		a, err = trail.Flows(t.Context(), &FlowsQuestion{Span: span, Filter: filter})
		require.NoError(t, err)
		assert.Len(t, a.Flows, 1, "%+v", filter)
	}
}

// Staged policies can newly deny what is unconfirmed, and nothing that is denied already or
// does not count.
func TestStagedDenied(t *testing.T) {
	for _, tt := range []struct {
		action string
		counts bool
		want   bool
	}{
		{flowlog.ActionAllow, true, true}, {flowlog.ActionUnconfirmed, true, true}, {flowlog.ActionDeny, true, false}, {flowlog.ActionAllow, false, false},
	} {
		f := &Flow{Flow: flowlog.Flow{
			Action: tt.action, Counts: tt.counts, SourceAction: flowlog.ActionAllow, Reporter: flowlog.ReporterSource,
			Egress: "np:a/b#0=allow", EgressPending: "staged-np:a/c#0=deny",
		}}
		assert.Equal(t, tt.want, (&Filter{StagedDenied: true}).MatchesFlow(f), "%+v", tt)
	}
}
