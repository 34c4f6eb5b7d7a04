package conformance

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

var listing = []behaviour{
	{"List gives a window exactly, whatever second of it a flow began in", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.flow("before", p-1), g.flow("first", p), g.flow("last", p+g.w-1), g.flow("after", p+g.w))
		rows := g.list(t, p, p+g.w)
		require.ElementsMatch(t, []string{"first", "last"}, names(rows))
		want := g.flow("last", p)
		want.EndTime = p + g.w
		got := find(rows, "last").Flow
		require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
	}},
	{"List has the current window and the next, as far as they have come", func(t *testing.T, g *target) {
		s := g.fresh(t)
		g.push(t, g.flow("now", s), g.flow("ahead", s+g.w))
		require.Equal(t, []string{"now"}, names(g.list(t, s, s+g.w)))
		require.Equal(t, []string{"ahead"}, names(g.list(t, s+g.w, s+2*g.w)))
	}},
	{"List adds up the flows of a window and the windows of a range, live connections too", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.flow("a", p))
		g.push(t, g.flow("a", p))
		g.push(t, g.flow("a", p+2*g.w))
		row := find(g.list(t, p, p+g.w), "a").Flow
		require.Equal(t, []int64{2, 4, 60, 80, 10, 12, 14}, counters(row))
		row = find(g.list(t, p, p+3*g.w), "a").Flow
		require.Equal(t, []int64{3, 6, 90, 120, 15, 18, 21}, counters(row))
		require.Equal(t, p, row.StartTime)
		require.Equal(t, p+3*g.w, row.EndTime)
	}},
	{"List loses the window that an unaligned start falls into", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.flow("a", p+1), g.flow("b", p+g.w))
		require.Empty(t, g.list(t, p+1, p+g.w))
		require.Equal(t, []string{"b"}, names(g.list(t, p+1, p+2*g.w)))
	}},
	{"List gives a row of zeros for a key whose only window the end cuts", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.flow("cut", p), g.flow("both", p-g.w), g.flow("both", p), g.flow("later", p+g.w))
		rows := g.list(t, p-g.w, p+1)
		require.ElementsMatch(t, []string{"cut", "both"}, names(rows))
		cut := find(rows, "cut").Flow
		require.Equal(t, []int64{0, 0, 0, 0, 0, 0, 0}, counters(cut))
		require.Zero(t, cut.StartTime)
		require.Zero(t, cut.EndTime)
		require.Empty(t, cut.SourceLabels)
		both := find(rows, "both").Flow
		require.Equal(t, []int64{1, 2, 30, 40, 5, 6, 7}, counters(both))
		require.Equal(t, p, both.EndTime)
	}},
	{"List of everything gives rows of zeros for the current window", func(t *testing.T, g *target) {
		var s int64
		var rows []*goldmane.FlowResult
		name := func() string { return fmt.Sprint("new-", s) }
		for first := true; first || g.now() >= s+g.w; first = false { // again if the window ended meanwhile
			s = g.fresh(t)
			g.until(t, s+1) // so that now cuts it
			g.push(t, g.flow("old", s-10*g.w), g.flow(name(), s))
			rows = g.list(t, 0, 0)
		}
		require.Equal(t, s-10*g.w, find(rows, "old").Flow.StartTime)
		require.Zero(t, find(rows, name()).Flow.StartTime)
	}},
	{"List takes negative times from now", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.flow("a", p-20*g.w), g.flow("b", p), g.flow("c", p+20*g.w))
		rows := g.list(t, p-10*g.w-g.now(), p+10*g.w-g.now())
		require.Equal(t, []string{"b"}, names(rows))
	}},
	{"List outside the ring is empty and no error", func(t *testing.T, g *target) {
		s := g.current()
		g.push(t, g.flow("a", s-300*g.w), g.flow("b", s+10*g.w), g.flow("c", s))
		require.Empty(t, g.list(t, s-400*g.w, s-290*g.w))
		require.Empty(t, g.list(t, s+9*g.w, s+20*g.w))
	}},
	{"List refuses an empty range with a plain error", func(t *testing.T, g *target) {
		_, err := g.flows.List(bounded(t), &goldmane.FlowListRequest{StartTimeGte: 600, StartTimeLt: 600})
		require.Equal(t, codes.Unknown, status.Code(err))
		require.Equal(t, "startTimeGt (600) must be less than startTimeLt (600)", status.Convert(err).Message())
	}},
	{"List keeps the labels that all contributions share", func(t *testing.T, g *target) {
		p := g.past()
		labelled := func(name string, start int64, source ...string) *goldmane.Flow {
			f := g.flow(name, start)
			f.SourceLabels, f.DestLabels = source, nil
			return f
		}
		g.push(t, labelled("a", p, "z=1", "pod=0", "app=web"), labelled("a", p+g.w, "app=web"))
		g.push(t, labelled("a", p, "app=web", "pod=1", "z=1"))
		require.Equal(t, []string{"app=web", "z=1"}, find(g.list(t, p, p+g.w), "a").Flow.SourceLabels)
		require.Equal(t, []string{"app=web"}, find(g.list(t, p, p+2*g.w), "a").Flow.SourceLabels)

		// Nothing shared in a window stays nothing.
		g.push(t, labelled("b", p, "x=1"))
		g.push(t, labelled("b", p, "y=1"))
		g.push(t, labelled("b", p, "x=1"))
		require.Empty(t, find(g.list(t, p, p+g.w), "b").Flow.SourceLabels)
		// Over several windows it counts as nothing known: the next window's are taken.
		g.push(t, labelled("b", p+g.w, "w=1"))
		require.Equal(t, []string{"w=1"}, find(g.list(t, p, p+2*g.w), "b").Flow.SourceLabels)
		require.Empty(t, find(g.list(t, p, p+2*g.w), "b").Flow.DestLabels)
	}},
	{"List splits a label with a comma", func(t *testing.T, g *target) {
		p := g.past()
		f := g.flow("a", p)
		f.SourceLabels = []string{"note=red,green", "app=web"}
		g.push(t, f)
		require.Equal(t, []string{"app=web", "note=red", "green"}, find(g.list(t, p, p+g.w), "a").Flow.SourceLabels)
	}},
	{"Enum numbers without a name pass unchanged", func(t *testing.T, g *target) {
		p := g.past()
		f := g.flow("a", p)
		f.Key.SourceType, f.Key.DestType, f.Key.Reporter, f.Key.Action = 91, 92, 93, 94
		f.Key.Policies.EnforcedPolicies[0].Kind, f.Key.Policies.EnforcedPolicies[0].Action = 95, 96
		g.push(t, f)
		k := find(g.list(t, p, p+g.w), "a").Flow.Key
		require.True(t, proto.Equal(f.Key, k), "want %v\ngot  %v", f.Key, k)
	}},
	{"The order of the policies is part of the key", func(t *testing.T, g *target) {
		p := g.past()
		hit := func(i int64) *goldmane.PolicyHit {
			return &goldmane.PolicyHit{Kind: goldmane.PolicyKind_GlobalNetworkPolicy, Name: "p", Action: goldmane.Action_Pass, PolicyIndex: i}
		}
		up, down := g.flow("a", p), g.flow("a", p)
		up.Key.Policies.EnforcedPolicies = []*goldmane.PolicyHit{hit(0), hit(1), hit(2)}
		down.Key.Policies.EnforcedPolicies = []*goldmane.PolicyHit{hit(2), hit(1), hit(0)}
		g.push(t, up, down)
		rows := g.list(t, p, p+g.w)
		require.Len(t, rows, 2)
		var first []int64
		for _, r := range rows {
			first = append(first, r.Flow.Key.Policies.EnforcedPolicies[0].PolicyIndex)
		}
		if g.before("3.31.5") {
			require.ElementsMatch(t, []int64{0, 2}, first, "as they were sent")
		} else {
			require.Equal(t, []int64{0, 0}, first, "sorted, and yet two rows")
		}
	}},
	{"No policies and an empty trace are one key, given out as an empty trace", func(t *testing.T, g *target) {
		p := g.past()
		none, empty := g.flow("a", p), g.flow("a", p+1)
		none.Key.Policies, empty.Key.Policies = nil, &goldmane.PolicyTrace{}
		g.push(t, none, empty)
		rows := g.list(t, p, p+g.w)
		require.Len(t, rows, 1)
		require.NotNil(t, rows[0].Flow.Key.Policies)
		require.Equal(t, int64(2), rows[0].Flow.PacketsIn)
	}},
	{"An id belongs to a key and is the same in every window", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.flow("a", p), g.flow("b", p), g.flow("a", p+g.w))
		first, second := g.list(t, p, p+g.w), g.list(t, p+g.w, p+2*g.w)
		require.Equal(t, find(first, "a").Id, find(second, "a").Id)
		require.NotEqual(t, find(first, "a").Id, find(first, "b").Id)
	}},
	{"A key that has left the ring comes back with another id", func(t *testing.T, g *target) {
		g.steady(t)
		s := g.fresh(t)
		oldest := s - 240*g.w
		g.push(t, g.flow("a", oldest))
		id := find(g.list(t, oldest, oldest+g.w), "a").Id
		g.until(t, s+2*g.w)
		require.Empty(t, g.list(t, oldest, oldest+g.w))
		g.push(t, g.flow("a", s))
		require.Greater(t, find(g.list(t, s, s+g.w), "a").Id, id)
	}},
}

// counters are a flow's numbers, in the order of the wire.
func counters(f *goldmane.Flow) []int64 {
	return []int64{
		f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut,
		f.NumConnectionsStarted, f.NumConnectionsCompleted, f.NumConnectionsLive,
	}
}
