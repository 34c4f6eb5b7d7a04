package conformance

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
)

var collecting = []behaviour{
	{"Every update has a receipt, whatever becomes of the flow", func(t *testing.T, g *target) {
		// push and sendAll count the receipts.
		p := g.past()
		g.push(t, g.flow("a", p), g.flow("a", p), g.flow("too old", p-300*g.w), g.flow("too new", p+300*g.w))
		require.Equal(t, []string{"a"}, names(g.list(t, 1, p+1000*g.w)))
	}},
	{"A flow that a node sends twice over one connection counts once, over two it counts twice", func(t *testing.T, g *target) {
		p := g.past()
		one, two := dial(t, g.addr(), nil), dial(t, g.addr(), nil)
		g.sendAll(t, one, g.flow("a", p), g.flow("a", p))
		g.sendAll(t, one, g.flow("a", p)) // a new call, the same connection
		g.push(t)                         // all of that is worked off
		require.Equal(t, int64(1), find(g.list(t, p, p+g.w), "a").Flow.PacketsIn)
		g.sendAll(t, two, g.flow("a", p))
		other := g.flow("a", p)
		other.EndTime++
		g.sendAll(t, one, other) // another end is another flow
		g.push(t)
		require.Equal(t, int64(3), find(g.list(t, p, p+g.w), "a").Flow.PacketsIn)
	}},
	{"A flow before the oldest window or after the next is dropped", func(t *testing.T, g *target) {
		g.steady(t)
		w := g.fresh(t)
		oldest := w - 240*g.w
		g.push(t, g.flow("gone", oldest-1), g.flow("oldest", oldest), g.flow("next", w+2*g.w-1), g.flow("ahead", w+2*g.w))
		require.ElementsMatch(t, []string{"oldest", "next"}, names(g.list(t, 1, w+10*g.w)))
	}},
	{"A cluster's window comes out as the sum of what its nodes sent", func(t *testing.T, g *target) {
		p := g.past()
		var flows []*goldmane.Flow
		nodes := make(map[string][]*goldmane.Flow)
		for _, a := range cluster.New(1).Window(p, time.Duration(g.w)*time.Second) {
			flows = append(flows, a.Flow)
			nodes[a.Node] = append(nodes[a.Node], a.Flow)
		}
		for _, sent := range nodes {
			g.push(t, sent...)
		}
		want := sum(t, flows, p, p+g.w)
		rows := g.list(t, p, p+g.w)
		require.Len(t, rows, len(want))
		for _, r := range rows {
			w := want[keyOf(t, r.Flow)]
			require.NotNil(t, w, "nobody sent %v", r.Flow.Key)
			require.True(t, proto.Equal(w, r.Flow), "want %v\ngot  %v", w, r.Flow)
		}
	}},
	{"mTLS lets any client certificate of the CA in, and no other", func(t *testing.T, g *target) {
		files := newPKI(t)
		srv := g.start(t, files)
		t.Cleanup(srv.stop)
		list := func(c *clientTLS) error {
			conn := dial(t, srv.addr(), c.config(files))
			_, err := goldmane.NewFlowsClient(conn).List(bounded(t), &goldmane.FlowListRequest{})
			return err
		}
		require.NoError(t, list(&clientTLS{cert: files.client}))
		require.Error(t, list(&clientTLS{}), "no certificate")
		require.Error(t, list(&clientTLS{cert: newPKI(t).client}), "one of another CA")
		require.Error(t, list(&clientTLS{cert: files.serverOnly}), "one that is not for clients")
	}},
}

func keyOf(t *testing.T, f *goldmane.Flow) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(f.Key)
	require.NoError(t, err)
	return string(b)
}

// sum aggregates flows by key, independently of the simulator.
func sum(t *testing.T, flows []*goldmane.Flow, start, end int64) map[string]*goldmane.Flow {
	byKey := make(map[string]*goldmane.Flow)
	for _, f := range flows {
		s := byKey[keyOf(t, f)]
		if s == nil {
			s = proto.CloneOf(f)
			s.StartTime, s.EndTime = start, end
			byKey[keyOf(t, f)] = s
			continue
		}
		shared := func(a, b []string) []string {
			return slices.DeleteFunc(a, func(l string) bool { return !slices.Contains(b, l) })
		}
		s.SourceLabels, s.DestLabels = shared(s.SourceLabels, f.SourceLabels), shared(s.DestLabels, f.DestLabels)
		s.PacketsIn += f.PacketsIn
		s.PacketsOut += f.PacketsOut
		s.BytesIn += f.BytesIn
		s.BytesOut += f.BytesOut
		s.NumConnectionsStarted += f.NumConnectionsStarted
		s.NumConnectionsCompleted += f.NumConnectionsCompleted
		s.NumConnectionsLive += f.NumConnectionsLive
	}
	return byKey
}
