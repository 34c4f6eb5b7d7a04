package goldmanereceiver

import (
	"net"
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

// wire is Goldmane's answer for one window of the simulator's cluster, as bytes, and
// the number of flows in it.
func wire(b *testing.B) ([]byte, int) {
	b.Helper()
	g := sim.New(sim.Options{Clock: clockwork.NewFakeClockAt(time.Unix(windowStart+60, 0))})
	b.Cleanup(g.Stop)
	for _, a := range cluster.New(1).Window(windowStart, defaultWindow) {
		g.Push(a.Flow)
	}
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	require.NoError(b, err)
	server := sim.NewServer(g, nil)
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, conn.Close()) })
	answer, err := goldmane.NewFlowsClient(conn).List(b.Context(), &goldmane.FlowListRequest{StartTimeGte: windowStart, StartTimeLt: windowStart + 15})
	require.NoError(b, err)
	bytes, err := proto.Marshal(answer)
	require.NoError(b, err)
	require.NotEmpty(b, answer.Flows)
	return bytes, len(answer.Flows)
}

// report says how fast it went, in flows, which is what a cluster has.
func report(b *testing.B, flows int) {
	b.Helper()
	total := float64(b.N) * float64(flows)
	b.ReportMetric(total/b.Elapsed().Seconds(), "flows/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/flow")
}

// BenchmarkFloor is the least that any reader of Goldmane pays: its answer's bytes
// made into messages.
func BenchmarkFloor(b *testing.B) {
	bytes, flows := wire(b)
	b.ReportAllocs()
	for b.Loop() {
		var answer goldmane.FlowListResult
		if err := proto.Unmarshal(bytes, &answer); err != nil {
			b.Fatal(err)
		}
	}
	report(b, flows)
}

// BenchmarkWindow is all that the receiver does: from the bytes of an answer to the
// records that it hands on. The floor is in it.
func BenchmarkWindow(b *testing.B) {
	bytes, flows := wire(b)
	c, err := newConverter([]string{"*"})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		w, err := newWindow(windowStart, answer{string(bytes)}, c, true, earlier{})
		if err != nil {
			b.Fatal(err)
		}
		for lo := 0; lo < len(w.records); lo += batchRecords {
			w.logs(lo, min(lo+batchRecords, len(w.records)))
		}
	}
	report(b, flows)
}
