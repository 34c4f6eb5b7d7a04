package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

var streaming = []behaviour{
	{"Stream delivers a window once, one window after its end, and its numbers only", func(t *testing.T, g *target) {
		g.steady(t)
		s := g.followLive(t)
		w := g.fresh(t)
		// The second is out of the backfill's reach, which may still be on its way.
		g.push(t, g.flow("a", w+1), g.flow("a", w-200*g.w))
		g.push(t, g.flow("a", w))
		g.until(t, w+2*g.w)
		row := s.await(t, "a")
		require.GreaterOrEqual(t, row.at, w+2*g.w)
		require.Equal(t, w, row.Flow.StartTime)
		require.Equal(t, w+g.w, row.Flow.EndTime)
		require.Equal(t, []int64{2, 4, 60, 80, 10, 12, 14}, counters(row.Flow))
		require.Equal(t, find(g.list(t, w, w+g.w), "a").Id, row.Id)
		g.flush(t, s)
		require.Len(t, s.get("a"), 1)
	}},
	{"A flow that comes after its window was streamed is listed, backfilled, and never streamed", func(t *testing.T, g *target) {
		g.steady(t)
		s := g.followLive(t)
		w := g.fresh(t)
		g.push(t, g.flow("early", w))
		g.until(t, w+2*g.w)
		s.await(t, "early")
		g.push(t, g.flow("early", w), g.flow("late", w))
		g.flush(t, s)
		require.Empty(t, s.get("late"))
		require.Len(t, s.get("early"), 1)

		rows := g.list(t, w, w+g.w)
		require.Equal(t, int64(1), find(rows, "late").Flow.PacketsIn)
		require.Equal(t, int64(2), find(rows, "early").Flow.PacketsIn)
		again := g.follow(t, w)
		again.await(t, "late")
		require.Equal(t, int64(2), again.await(t, "early").Flow.PacketsIn)
	}},
	{"Stream delivers windows in order", func(t *testing.T, g *target) {
		g.steady(t)
		s := g.followLive(t)
		w := g.fresh(t)
		g.push(t, g.flow("2", w+g.w), g.flow("1", w)) // the next window is open already
		g.until(t, w+3*g.w)
		g.flush(t, s)
		require.Equal(t, []string{"1", "2"}, s.order())
	}},
	{"Backfill goes from the start's window to the one that is streamed next, oldest first", func(t *testing.T, g *target) {
		g.steady(t)
		w := g.fresh(t)
		p := w - 30*g.w
		g.push(t, g.flow("before", p-g.w), g.flow("first", p), g.flow("second", p+g.w),
			g.flow("third", w-2*g.w), g.flow("due", w-g.w), g.flow("unfinished", w))
		s := g.follow(t, p+1) // falls into p's window: all of it is sent
		s.await(t, "third")
		if g.now() < w+g.w { // else the rollover has come in between
			require.Equal(t, []string{"first", "second", "third"}, s.order())
		}
		g.flush(t, s)
		require.Equal(t, []string{"first", "second", "third", "due", "unfinished"}, s.order())
	}},
	{"Backfill takes a negative start from now", func(t *testing.T, g *target) {
		g.steady(t)
		w := g.fresh(t)
		p := w - 30*g.w
		g.push(t, g.flow("before", p-20*g.w), g.flow("after", p))
		s := g.follow(t, -40*g.w)
		s.await(t, "after")
		require.Equal(t, []string{"after"}, s.order())
	}},
	{"A start in the unfinished window replays the whole ring", func(t *testing.T, g *target) {
		g.steady(t)
		w := g.fresh(t)
		g.push(t, g.flow("oldest", w-239*g.w+1), g.flow("old", w-30*g.w), g.flow("due", w-g.w), g.flow("unfinished", w))
		s := g.follow(t, w)
		s.await(t, "old")
		g.flush(t, s)
		if g.before("3.31") {
			require.Equal(t, []string{"unfinished", "oldest", "old", "due", "unfinished"}, s.order(), "and part of the unfinished window first")
		} else {
			require.Equal(t, []string{"oldest", "old", "due", "unfinished"}, s.order())
		}
	}},
	{"A start in the next window does too", func(t *testing.T, g *target) {
		g.steady(t)
		w := g.fresh(t)
		g.push(t, g.flow("old", w-30*g.w))
		s := g.follow(t, w+g.w)
		s.await(t, "old")
	}},
	{"A start of 0 has no backfill", noBackfill(func(*target) int64 { return 0 })},
	{"A start older than the ring has no backfill", noBackfill(func(g *target) int64 { return g.current() - 300*g.w })},
	{"A start in the far future has no backfill, and the stream starts at once", noBackfill(func(g *target) int64 { return g.current() + 1000*g.w })},
	{"A start in the window that is streamed next has no backfill", noBackfill(func(g *target) int64 { return g.current() - g.w })},
	{"The first window after the process began is streamed at its end, a window early", func(t *testing.T, g *target) {
		w := g.current()
		s := g.followLive(t)
		g.push(t, g.flow("a", w), g.flow("ahead", w+2*g.w))
		g.until(t, w+g.w)
		require.Less(t, s.await(t, "a").at, w+2*g.w)
		require.Equal(t, []string{"ahead"}, names(g.list(t, w+2*g.w, w+3*g.w)), "the ring reaches a window further, too")
		g.push(t, g.flow("b", w+g.w))
		g.until(t, w+3*g.w)
		require.GreaterOrEqual(t, s.await(t, "b").at, w+3*g.w, "the second is in step")
	}},
	{"A client that does not read its stream stalls Goldmane", func(t *testing.T, g *target) {
		p := g.past()
		g.push(t, g.keys(p, 4000)...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		// Windows of a fixed size: else gRPC may take in all of it on the reader's behalf.
		slow := dial(t, g.addr(), nil, grpc.WithInitialWindowSize(1<<16), grpc.WithInitialConnWindowSize(1<<16))
		stream, err := goldmane.NewFlowsClient(slow).Stream(ctx, &goldmane.FlowStreamRequest{StartTimeGte: p})
		require.NoError(t, err)
		_, err = stream.Recv() // the window is on its way, and from here on nobody reads
		require.NoError(t, err)
		require.Len(t, g.list(t, p, p+g.w), 4000, "this alone harms nobody")

		node := dial(t, g.addr(), nil)
		g.sendAll(t, node, g.flow("late", p)) // the receipt comes all the same
		if g.before("3.31") {
			require.Eventually(t, func() bool { return len(g.list(t, p, p+g.w)) == 4001 }, patience, 5*time.Millisecond,
				"3.30 locks nothing: it drops flows of the slow stream instead")
			return
		}
		// Not at once: a List may overtake the flow.
		require.Eventually(t, func() bool {
			short, done := context.WithTimeout(t.Context(), time.Second)
			defer done()
			_, err := g.flows.List(short, &goldmane.FlowListRequest{StartTimeGte: p, StartTimeLt: p + g.w})
			return status.Code(err) == codes.DeadlineExceeded
		}, patience, 5*time.Millisecond, "List goes on answering")

		cancel()
		require.Len(t, g.list(t, p, p+g.w), 4001, "it goes on when the stream is gone")
	}},
}

// noBackfill: such a start gives what is streamed from now on, and nothing of before.
func noBackfill(start func(*target) int64) func(*testing.T, *target) {
	return func(t *testing.T, g *target) {
		g.steady(t)
		w := g.fresh(t)
		g.push(t, g.flow("old", w-30*g.w), g.flow("recent", w-2*g.w))
		s := g.follow(t, start(g))
		g.flush(t, s)
		require.Empty(t, s.order())
		live := g.fresh(t)
		g.push(t, g.flow("live", live))
		g.until(t, live+2*g.w)
		s.await(t, "live")
		require.Equal(t, []string{"live"}, s.order())
	}
}
