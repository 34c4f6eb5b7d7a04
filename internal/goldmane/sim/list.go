package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sort"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

type flowsServer struct {
	goldmane.UnimplementedFlowsServer
	g *Goldmane
}

var errNegativePage = errors.New("a list asked for a negative page in the default order; Goldmane slices out of range and panics")

// List answers one row a key over the whole range. It is built in the main loop, which
// does nothing else meanwhile.
func (s *flowsServer) List(_ context.Context, req *goldmane.FlowListRequest) (*goldmane.FlowListResult, error) {
	if err := refuseFilter(req.Filter); err != nil {
		return nil, err
	}
	var res *goldmane.FlowListResult
	var err error
	if !s.g.do(func() { res, err = s.g.list(req) }) {
		return nil, errGone()
	}
	if errors.Is(err, errNegativePage) {
		s.g.fail(err)
		return nil, errGone()
	}
	return res, err
}

func (s *flowsServer) FilterHints(context.Context, *goldmane.FilterHintsRequest) (*goldmane.FilterHintsResult, error) {
	return nil, status.Error(codes.Unimplemented, "the simulated Goldmane has no FilterHints")
}

// refuseFilter keeps a client from taking unfiltered rows for filtered ones.
func refuseFilter(f *goldmane.Filter) error {
	if f == nil || proto.Size(f) == 0 {
		return nil
	}
	return status.Error(codes.Unimplemented, "the simulated Goldmane does not filter: send the request without one and filter in the client")
}

// sortFields are the orders other than by time, which is the default.
var sortFields = map[goldmane.SortBy]func(*goldmane.FlowKey) string{
	goldmane.SortBy_DestName:        (*goldmane.FlowKey).GetDestName,
	goldmane.SortBy_DestNamespace:   (*goldmane.FlowKey).GetDestNamespace,
	goldmane.SortBy_SourceName:      (*goldmane.FlowKey).GetSourceName,
	goldmane.SortBy_SourceNamespace: (*goldmane.FlowKey).GetSourceNamespace,
}

// list runs in the main loop. Its errors are plain ones, which gRPC makes Unknown.
func (g *Goldmane) list(req *goldmane.FlowListRequest) (*goldmane.FlowListResult, error) {
	gte, lt := g.timeRange(req.StartTimeGte, req.StartTimeLt)
	if gte >= lt {
		return nil, fmt.Errorf("startTimeGt (%d) must be less than startTimeLt (%d)", gte, lt)
	}
	if len(req.SortBy) > 1 {
		return nil, errors.New("at most one sort order is supported")
	}
	if len(req.SortBy) == 0 || req.SortBy[0].GetSortBy() == goldmane.SortBy_Time {
		return pageByTime(g.ring.rows(gte, lt), req.Page, req.PageSize)
	}
	by := req.SortBy[0].GetSortBy()
	field, ok := sortFields[by]
	if !ok {
		return nil, fmt.Errorf("unsupported sort order: %s", by)
	}
	return pageByField(g.ring.rows(gte, lt), field, req.Page, req.PageSize), nil
}

// timeRange resolves times relative to now, and 0.
func (g *Goldmane) timeRange(gte, lt int64) (int64, int64) {
	now := g.clock.Now().Unix()
	switch {
	case gte < 0:
		gte += now
	case gte == 0:
		gte = g.ring.oldest()
	}
	if lt <= 0 {
		lt += now
	}
	return gte, lt
}

// rows aggregates every key that has a window which starts in [gte, lt), in no order.
// What is added up are the windows that lie in the range as a whole; a key with none
// of those still has its row, with all numbers 0.
func (r *ring) rows(gte, lt int64) []*goldmane.FlowResult {
	found := make(map[*entry]struct{})
	for _, b := range r.buckets[:] {
		if b.start >= gte && b.start < lt {
			for e := range b.windows {
				found[e] = struct{}{}
			}
		}
	}
	rows := make([]*goldmane.FlowResult, 0, len(found))
	for e := range found {
		rows = append(rows, e.aggregate(gte, lt))
	}
	return rows
}

func (e *entry) aggregate(gte, lt int64) *goldmane.FlowResult {
	sum := contribution{sourceLabels: noLabels, destLabels: noLabels}
	var start, end int64
	for _, w := range e.windows {
		if w.start < gte || w.end > lt {
			continue
		}
		if start == 0 {
			start = w.start
		}
		end = w.end
		sum.addWindow(&w.sum)
	}
	return sum.result(e, start, end)
}

// pageByTime sorts the newest first and leaves ties, all rows of one window among
// them, in the map's order, which differs from call to call.
func pageByTime(rows []*goldmane.FlowResult, page, size int64) (*goldmane.FlowListResult, error) {
	sort.Slice(rows, func(i, j int) bool { return rows[i].Flow.StartTime > rows[j].Flow.StartTime })
	total := len(rows)
	if size > 0 {
		from := page * size
		to := min(from+size, int64(total))
		switch {
		case from >= int64(total): // past the end even the totals are 0
			return &goldmane.FlowListResult{Meta: &goldmane.ListMetadata{}}, nil
		case from < 0:
			return nil, errNegativePage
		}
		rows = rows[from:to]
	}
	return &goldmane.FlowListResult{Meta: listMeta(total, size), Flows: rows}, nil
}

// pageByField sorts by a name and then by id, so that pages fit together.
func pageByField(rows []*goldmane.FlowResult, field func(*goldmane.FlowKey) string, page, size int64) *goldmane.FlowListResult {
	sort.Slice(rows, func(i, j int) bool {
		a, b := field(rows[i].Flow.Key), field(rows[j].Flow.Key)
		if a != b {
			return a < b
		}
		return rows[i].Id < rows[j].Id
	})
	meta := listMeta(len(rows), size)
	if size != 0 {
		from := min(max(page*size, 0), int64(len(rows)))
		rows = rows[from:min(from+max(size, 0), int64(len(rows)))]
	}
	return &goldmane.FlowListResult{Meta: meta, Flows: rows}
}

func listMeta(total int, size int64) *goldmane.ListMetadata {
	m := &goldmane.ListMetadata{TotalResults: int64(total)}
	switch {
	case total == 0:
	case size == 0:
		m.TotalPages = 1
	default:
		m.TotalPages = int64(math.Ceil(float64(total) / float64(size)))
	}
	return m
}
