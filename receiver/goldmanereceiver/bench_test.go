package goldmanereceiver

import (
	"runtime"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
)

// wide is how many flows a window may have, ten times what a large cluster's has.
const wide = 50_000

// sizes are the windows that are measured: one of the simulator's cluster, and a wide
// one.
func sizes(b *testing.B, measure func(b *testing.B, answer []byte, flows int)) {
	b.Helper()
	var flows []*goldmane.Flow
	for _, a := range cluster.New(1).Window(windowStart, defaultWindow) {
		flows = append(flows, a.Flow)
	}
	b.Run("cluster", func(b *testing.B) {
		answer, n := wire(b, flows)
		measure(b, answer, n)
	})
	b.Run("wide", func(b *testing.B) {
		answer, n := wire(b, cluster.New(1).Wide(windowStart, defaultWindow, wide))
		require.Equal(b, wide, n)
		measure(b, answer, n)
	})
}

// wire is Goldmane's answer for one window of those flows, as bytes, and the number of
// rows in it.
func wire(tb testing.TB, flows []*goldmane.Flow) ([]byte, int) {
	tb.Helper()
	g := sim.New(sim.Options{Clock: clockwork.NewFakeClockAt(time.Unix(windowStart+60, 0))})
	defer g.Stop()
	for _, f := range flows {
		g.Push(f)
	}
	server := sim.NewServer(g, nil)
	conn, err := grpc.NewClient(serve(tb, server), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(tb, err)
	defer func() { require.NoError(tb, conn.Close()); server.Stop() }()
	answer, err := goldmane.NewFlowsClient(conn).List(tb.Context(),
		&goldmane.FlowListRequest{StartTimeGte: windowStart, StartTimeLt: windowStart + 15}, grpc.MaxCallRecvMsgSize(64<<20))
	require.NoError(tb, err)
	bytes, err := proto.Marshal(answer)
	require.NoError(tb, err)
	require.NotEmpty(tb, answer.Flows)
	return bytes, len(answer.Flows)
}

// mallocs is how many objects were made so far.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// reportSpeed says how fast it went, in flows, which is what a cluster has.
func reportSpeed(b *testing.B, flows int, before uint64) {
	b.Helper()
	total := float64(b.N) * float64(flows)
	b.ReportMetric(total/b.Elapsed().Seconds(), "flows/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/flow")
	b.ReportMetric(float64(mallocs()-before)/total, "allocs/flow")
}

// BenchmarkFloor is the least that any reader of Goldmane pays: its answer's bytes
// made into messages.
func BenchmarkFloor(b *testing.B) {
	sizes(b, func(b *testing.B, bytes []byte, flows int) {
		b.ReportAllocs()
		before := mallocs()
		for b.Loop() {
			var answer goldmane.FlowListResult
			if err := proto.Unmarshal(bytes, &answer); err != nil {
				b.Fatal(err)
			}
		}
		reportSpeed(b, flows, before)
	})
}

// BenchmarkWindow is all that the receiver does: from the bytes of an answer to the
// records that it hands on, reading included. With every label, the default, and with
// the one that the shipped configurations let through.
func BenchmarkWindow(b *testing.B) {
	benchmarkWindow(b, "*")
}

func BenchmarkWindowWithOneLabel(b *testing.B) {
	benchmarkWindow(b, "service-identity")
}

func benchmarkWindow(b *testing.B, labels ...string) {
	b.Helper()
	c, err := newConverter(labels)
	require.NoError(b, err)
	sizes(b, func(b *testing.B, bytes []byte, flows int) {
		b.ReportAllocs()
		before := mallocs()
		for b.Loop() {
			w, err := alone(answer{string(bytes)}, c, true)
			if err != nil {
				b.Fatal(err)
			}
			for lo := 0; lo < len(w.records); lo += batchRecords {
				w.logs(lo, min(lo+batchRecords, len(w.records)))
			}
		}
		reportSpeed(b, flows, before)
	})
}

// BenchmarkCompress is what it costs to keep an answer until it can be decided.
func BenchmarkCompress(b *testing.B) {
	sizes(b, func(b *testing.B, bytes []byte, flows int) {
		a := answer{string(bytes)}
		kept := compressed(a)
		before := mallocs()
		for b.Loop() {
			compressed(a)
		}
		reportSpeed(b, flows, before)
		b.ReportMetric(float64(len(kept))/float64(flows), "kept-B/flow")
	})
}
