package conformance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

var ending = []behaviour{
	{"A restart loses the ring and begins the ids anew", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.flow("a", p))
		require.Len(t, g.list(t, 1, p+g.w), 1)
		g = g.restart(t)
		require.Empty(t, g.list(t, 1, p+g.w))
		g.push(t, g.flow("b", p))
		require.Equal(t, int64(1), find(g.list(t, p, p+g.w), "b").Id)
	}},
	{"100 streams are served, and one more ends the process", func(t *testing.T, g *target) {
		g.followAll(t, 100)
		requireAlive(t, g)
		g.follow(t, 0)
		requireEnded(t, g)
	}},
	{"An update without a flow ends the process", func(t *testing.T, g *target) { endsWith(t, g, nil) }},
	{"A flow without a key ends the process", func(t *testing.T, g *target) { endsWith(t, g, &goldmane.Flow{StartTime: g.past()}) }},
	{"A negative page in the default order ends the process", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.keys(p, 5)...)
		require.Empty(t, g.page(t, p, -1, 0, goldmane.SortBy_SourceName).Flows[5:], "sorted it is the first page")
		_, err := g.flows.List(bounded(t), &goldmane.FlowListRequest{StartTimeGte: p, StartTimeLt: p + g.w, Page: -1, PageSize: 2})
		require.Error(t, err)
		requireEnded(t, g)
	}},
}

func endsWith(t *testing.T, g *target, f *goldmane.Flow) {
	stream, err := goldmane.NewFlowCollectorClient(g.conn).Connect(bounded(t))
	require.NoError(t, err)
	require.NoError(t, stream.Send(&goldmane.FlowUpdate{Flow: f}))
	_, err = stream.Recv()
	require.Error(t, err)
	requireEnded(t, g)
}

func requireAlive(t *testing.T, g *target) {
	select {
	case <-g.ended():
		require.Fail(t, "Goldmane ended too early")
	default:
	}
}

func requireEnded(t *testing.T, g *target) {
	select {
	case <-g.ended():
	case <-time.After(patience):
		require.Fail(t, "Goldmane goes on")
	}
	_, err := g.flows.List(bounded(t), &goldmane.FlowListRequest{})
	require.Error(t, err)
}
