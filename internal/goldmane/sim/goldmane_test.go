package sim

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
)

// What Goldmane does is tested in internal/goldmane/conformance, against real ones too.
// Here is what only the simulator has.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	begin    = int64(1_700_000_010) // a window's start
	patience = 20 * time.Second
)

func flow(name string, start int64) *goldmane.Flow {
	return &goldmane.Flow{Key: &goldmane.FlowKey{SourceName: name}, StartTime: start, PacketsIn: 1}
}

// serve starts a Goldmane on a fake clock and returns a connection to it.
func serve(tb testing.TB, o Options) (*Goldmane, *clockwork.FakeClock, *grpc.ClientConn) {
	clock := clockwork.NewFakeClockAt(time.Unix(begin, 0))
	o.Clock = clock
	g := New(o)
	srv := NewServer(g, nil)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///"+lis.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// Windows of a fixed size: else gRPC may take in all that a slow reader does not.
		grpc.WithInitialWindowSize(1<<16), grpc.WithInitialConnWindowSize(1<<16),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, conn.Close())
		g.Stop()
		srv.Stop()
		require.NoError(tb, <-served)
	})
	return g, clock, conn
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestPushAndKeys(t *testing.T) {
	g, clock, _ := serve(t, Options{Window: 10 * time.Second})
	s := begin - begin%10
	g.Push(flow("a", s))
	g.Push(flow("a", s+9))
	g.Push(flow("b", s))
	g.Push(flow("c", s+10))
	require.Equal(t, 2, g.Keys(s))
	require.Equal(t, 1, g.Keys(s+10))
	require.Zero(t, g.Keys(s+1), "not a window's start")

	require.Zero(t, g.Dropped())
	g.Push(flow("old", s-10*ringSize))
	require.Equal(t, int64(1), g.Dropped())

	// The ring is level with the clock when Keys answers, however far that has gone.
	clock.Advance(241 * 10 * time.Second)
	require.Zero(t, g.Keys(s))
	require.Equal(t, 1, g.Keys(s+10))
	clock.Advance(10 * time.Second)
	require.Zero(t, g.Keys(s+10))
}

func TestSeedShiftsTheIDs(t *testing.T) {
	g, _, conn := serve(t, Options{Seed: 500})
	g.Push(flow("a", begin))
	res, err := goldmane.NewFlowsClient(conn).List(bounded(t), &goldmane.FlowListRequest{StartTimeGte: begin, StartTimeLt: begin + 15})
	require.NoError(t, err)
	require.Equal(t, int64(501), res.Flows[0].Id)
}

func TestWindowMustBeWholeSeconds(t *testing.T) {
	require.PanicsWithValue(t, "sim: Options.Window is 1.5s: must be whole seconds, 1s or more; Goldmane counts in seconds", func() {
		New(Options{Window: 1500 * time.Millisecond})
	})
}

func TestWhatIsNotSimulatedSaysSo(t *testing.T) {
	_, _, conn := serve(t, Options{})
	c := goldmane.NewFlowsClient(conn)
	filter := &goldmane.Filter{Actions: []goldmane.Action{goldmane.Action_Deny}}
	_, err := c.List(bounded(t), &goldmane.FlowListRequest{Filter: filter})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	stream, err := c.Stream(bounded(t), &goldmane.FlowStreamRequest{Filter: filter})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.Unimplemented, status.Code(err))
	_, err = c.FilterHints(bounded(t), &goldmane.FilterHintsRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	_, err = c.List(bounded(t), &goldmane.FlowListRequest{Filter: &goldmane.Filter{}})
	require.NoError(t, err, "an empty filter lets everything through")
}

func TestCrashIsToldOnceAndEndsEveryCall(t *testing.T) {
	var crashes []error
	g, _, conn := serve(t, Options{OnCrash: func(err error) { crashes = append(crashes, err) }})
	c := goldmane.NewFlowsClient(conn)
	stream, err := c.Stream(bounded(t), &goldmane.FlowStreamRequest{})
	require.NoError(t, err)
	g.Push(&goldmane.Flow{})
	g.Push(nil)
	require.Len(t, crashes, 1)
	require.ErrorIs(t, crashes[0], errNilKey)
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
	_, err = c.List(bounded(t), &goldmane.FlowListRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Zero(t, g.Keys(begin))
}

func TestDuplicatesAreForgottenAfterFiveMinutes(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Unix(begin, 0))
	d := newDedup(clock)
	a, err := newArrival(flow("a", begin))
	require.NoError(t, err)
	require.True(t, d.first("10.0.0.1:1000", a))
	require.False(t, d.first("10.0.0.1:1000", a))
	require.True(t, d.first("10.0.0.1:1001", a), "another connection")
	clock.Advance(dedupTime)
	d.expire()
	require.False(t, d.first("10.0.0.1:1000", a))
	clock.Advance(time.Second)
	d.expire()
	require.True(t, d.first("10.0.0.1:1000", a))
}

// stall locks a window of many keys by a stream that nobody reads, and gets the main
// loop to wait for it.
func stall(t *testing.T, g *Goldmane, conn *grpc.ClientConn) {
	long := strings.Repeat("x", 200) // more than gRPC's buffers hold
	for i := range 5000 {
		g.Push(flow(fmt.Sprint(long, i), begin-150))
	}
	stream, err := goldmane.NewFlowsClient(conn).Stream(t.Context(), &goldmane.FlowStreamRequest{StartTimeGte: begin - 150})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	late, err := newArrival(flow("late", begin-150))
	require.NoError(t, err)
	require.True(t, g.take(intake{flow: late}))
	require.Eventually(t, func() bool { return len(g.intake) == 0 }, patience, time.Millisecond)
}

func TestStalledIntakeDropsAfterFiveSeconds(t *testing.T) {
	g, clock, conn := serve(t, Options{})
	stall(t, g, conn)
	a, err := newArrival(flow("a", begin))
	require.NoError(t, err)
	for range intakeDepth {
		require.True(t, g.take(intake{flow: a}))
	}
	took := make(chan bool)
	go func() { took <- g.take(intake{flow: a}) }()
	// Its timer, the ring's and that of the flow which the stream cannot hand over.
	require.NoError(t, clock.BlockUntilContext(bounded(t), 3))
	clock.Advance(intakeWait)
	require.False(t, <-took)
	require.Equal(t, int64(1), g.Dropped())
}

func TestSlowStreamLosesTheRestOfItsWindowAfterAMinute(t *testing.T) {
	g, clock, conn := serve(t, Options{})
	stall(t, g, conn)
	keys := make(chan int)
	go func() { keys <- g.Keys(begin - 150) }()
	// More than once: gRPC may still have been taking flows when the minute began.
	for range 50 {
		clock.Advance(outWait)
		select {
		case n := <-keys:
			require.Equal(t, 5001, n, "the ring goes on")
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	g.Stop()
	<-keys
	require.Fail(t, "the stream keeps its window")
}

func TestStopEndsAStall(t *testing.T) {
	g, _, conn := serve(t, Options{})
	stall(t, g, conn)
	g.Stop()
	_, err := goldmane.NewFlowsClient(conn).List(bounded(t), &goldmane.FlowListRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

func TestMutualTLSNamesTheFile(t *testing.T) {
	_, err := MutualTLS("no.crt", "no.key", "no-ca.crt")
	require.ErrorContains(t, err, "no.crt")
}

// BenchmarkList is a List of a window of 10,000 keys over loopback, the client's
// decoding included.
func BenchmarkList(b *testing.B) {
	g, _, conn := serve(b, Options{})
	const n = 10_000
	for _, f := range cluster.New(1).Wide(begin-150, 15*time.Second, n) {
		g.Push(f)
	}
	c := goldmane.NewFlowsClient(conn)
	b.ReportAllocs()
	for b.Loop() {
		res, err := c.List(b.Context(), &goldmane.FlowListRequest{StartTimeGte: begin - 150, StartTimeLt: begin - 135})
		if err != nil || len(res.Flows) != n {
			b.Fatalf("%d rows, %v", len(res.GetFlows()), err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "flows/s")
}

// BenchmarkPush is what the ring takes in.
func BenchmarkPush(b *testing.B) {
	g, _, _ := serve(b, Options{})
	flows := cluster.New(1).Wide(begin-150, 15*time.Second, 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		g.Push(flows[i%len(flows)])
	}
}
