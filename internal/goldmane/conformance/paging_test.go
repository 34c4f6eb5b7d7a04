package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// keys are many flows of one window, under names that do not come in the order of ids.
func (g *target) keys(start int64, n int) []*goldmane.Flow {
	var flows []*goldmane.Flow
	for i := range n {
		flows = append(flows, g.flow(fmt.Sprintf("web-%03d", (i*37)%n), start))
	}
	return flows
}

func (g *target) page(t *testing.T, start, page, size int64, sort ...goldmane.SortBy) *goldmane.FlowListResult {
	req := &goldmane.FlowListRequest{StartTimeGte: start, StartTimeLt: start + g.w, Page: page, PageSize: size}
	for _, by := range sort {
		req.SortBy = append(req.SortBy, &goldmane.SortOption{SortBy: by})
	}
	res, err := g.flows.List(bounded(t), req)
	require.NoError(t, err)
	return res
}

var paging = []behaviour{
	{"Pages in the default order overlap and leave gaps", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.keys(p, 200)...)
		seen := make(map[string]bool)
		for i := range int64(4) {
			res := g.page(t, p, i, 50)
			require.Len(t, res.Flows, 50)
			require.Equal(t, int64(200), res.Meta.TotalResults)
			require.Equal(t, int64(4), res.Meta.TotalPages)
			for _, name := range names(res.Flows) {
				seen[name] = true
			}
		}
		// By chance all 200 would be there once in more than 10^100 times.
		require.Less(t, len(seen), 200)
	}},
	{"The default order has the newest window first", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.flow("old", p-g.w), g.flow("new", p), g.flow("older", p-2*g.w))
		require.Equal(t, []string{"new", "old", "older"}, names(g.list(t, p-5*g.w, p+g.w)))
	}},
	{"Past the last page in the default order even the totals are 0", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.keys(p, 10)...)
		res := g.page(t, p, 1, 10)
		require.Empty(t, res.Flows)
		require.Zero(t, res.Meta.GetTotalResults())
		require.Zero(t, res.Meta.GetTotalPages())
	}},
	{"Pages in the order of a name or namespace fit together", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.keys(p, 100)...)
		for _, by := range []goldmane.SortBy{
			goldmane.SortBy_SourceName, goldmane.SortBy_SourceNamespace,
			goldmane.SortBy_DestName, goldmane.SortBy_DestNamespace,
		} {
			var rows []*goldmane.FlowResult
			for i := range int64(5) {
				res := g.page(t, p, i, 23, by)
				require.Equal(t, int64(100), res.Meta.TotalResults)
				require.Equal(t, int64(5), res.Meta.TotalPages)
				rows = append(rows, res.Flows...)
			}
			require.Len(t, rows, 100)
			require.True(t, slices.IsSortedFunc(rows, func(a, b *goldmane.FlowResult) int {
				if by == goldmane.SortBy_SourceName {
					return slices.Compare([]string{a.Flow.Key.SourceName}, []string{b.Flow.Key.SourceName})
				}
				return int(a.Id - b.Id) // the values are all the same
			}), "by %s", by)
			past := g.page(t, p, 5, 23, by)
			require.Empty(t, past.Flows)
			require.Equal(t, int64(100), past.Meta.TotalResults)
		}
	}},
	{"Sorting by type and by more than one field is refused", func(t *testing.T, g *target) {
		for _, c := range []struct {
			by   []goldmane.SortBy
			want string
		}{
			{[]goldmane.SortBy{goldmane.SortBy_DestType}, "unsupported sort order: DestType"},
			{[]goldmane.SortBy{goldmane.SortBy_SourceType}, "unsupported sort order: SourceType"},
			{[]goldmane.SortBy{77}, "unsupported sort order: 77"},
			{[]goldmane.SortBy{goldmane.SortBy_SourceName, goldmane.SortBy_DestName}, "at most one sort order is supported"},
		} {
			req := &goldmane.FlowListRequest{}
			for _, by := range c.by {
				req.SortBy = append(req.SortBy, &goldmane.SortOption{SortBy: by})
			}
			_, err := g.flows.List(bounded(t), req)
			require.Equal(t, codes.Unknown, status.Code(err))
			require.Equal(t, c.want, status.Convert(err).Message())
		}
	}},
}
