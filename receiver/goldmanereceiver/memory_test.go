package goldmanereceiver

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
)

const (
	// mostAFlow is how many bytes of the heap a window may need for each of its flows:
	// 150 MB for 50,000.
	mostAFlow = 3000
	// batchBytes is what a record takes while it is handed on, which a window's size
	// does not change.
	batchBytes = 3500
)

// wideServer answers every List of the window at windowStart with bytes that are there
// already, so that nearly all of the memory in use is the receiver's.
func wideServer(tb testing.TB, flows int) (address string) {
	tb.Helper()
	bytes, rows := wire(tb, cluster.New(1).Wide(windowStart, defaultWindow, flows))
	require.Equal(tb, flows, rows)
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		var ask []byte
		if err := s.RecvMsg(&ask); err != nil {
			return err
		}
		var request goldmane.FlowListRequest
		if err := proto.Unmarshal(ask, &request); err != nil {
			return err
		}
		var none []byte
		if request.StartTimeGte != windowStart {
			return s.SendMsg(&none)
		}
		return s.SendMsg(&bytes)
	}))
	tb.Cleanup(server.Stop)
	return serve(tb, server)
}

// readWide has a receiver read the wide window once, to a pipeline that drops it, and
// returns the most memory in use meanwhile, in bytes above idle, and how long it took
// from the call to the last record, the server's part included.
func readWide(tb testing.TB, address string) (peak uint64, took time.Duration) {
	tb.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.Endpoint, cfg.TLS.Insecure, cfg.StartAt = address, true, StartAtNow
	heap := watchHeap()
	var records int
	done := make(chan struct{})
	next, err := consumer.NewLogs(func(_ context.Context, logs plog.Logs) error {
		heap.look()
		if name, _ := logs.ResourceLogs().At(0).Resource().Attributes().Get(flowlog.ServiceName); name.Str() == flowlog.StreamFlows {
			records += logs.LogRecordCount()
		} else if records > 0 {
			close(done) // the window's coverage comes last
			records = 0
		}
		return nil
	})
	require.NoError(tb, err)
	set := receivertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	receiver, err := newReceiver(set, cfg, next)
	require.NoError(tb, err)
	clock := clockwork.NewFakeClockAt(time.Unix(windowStart, 0))
	receiver.clock = clock
	require.NoError(tb, receiver.Start(context.Background(), componenttest.NewNopHost()))
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	require.NoError(tb, clock.BlockUntilContext(ctx, 1), "the receiver should wait for the window")
	began := time.Now()
	clock.Advance(cfg.SettleDelay + time.Duration(cfg.reachWindows()+1)*defaultWindow)
	select {
	case <-done:
	case <-ctx.Done():
		require.Fail(tb, "the window should have been read")
	}
	took = time.Since(began)
	require.NoError(tb, receiver.Shutdown(context.Background()))
	return heap.stop(), took
}

// heapWatch knows the most memory that objects have taken.
type heapWatch struct {
	idle uint64
	// mu guards peak.
	mu   sync.Mutex
	peak uint64
	done chan struct{}
	wg   sync.WaitGroup
}

// watchHeap looks every 200 µs; the assembly of a wide window takes a hundred times as
// long.
func watchHeap() *heapWatch {
	runtime.GC()
	runtime.GC() // what pools keep goes with the second
	h := &heapWatch{idle: heapInUse(), done: make(chan struct{})}
	h.wg.Go(func() {
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-h.done:
				return
			case <-tick.C:
				h.look()
			}
		}
	})
	return h
}

func (h *heapWatch) look() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peak = max(h.peak, heapInUse())
}

// stop returns the peak above idle.
func (h *heapWatch) stop() uint64 {
	close(h.done)
	h.wg.Wait()
	return h.peak - min(h.idle, h.peak)
}

// heapInUse is what live objects and garbage take, in bytes.
func heapInUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// littleGarbage has garbage collected when it is a tenth of what is in use, until the
// result is called. How much of it there is else depends on what the process had before;
// at Go's default the heap may grow to twice of what is in use.
func littleGarbage() (restore func()) {
	before := debug.SetGCPercent(10)
	return func() { debug.SetGCPercent(before) }
}

func TestAWindowNeedsLittleMemory(t *testing.T) {
	const flows = wide / 5 // with the race detector the whole would take 20 s
	address := wideServer(t, flows)
	defer littleGarbage()()
	peak, _ := readWide(t, address)
	t.Logf("%d flows: %.1f MB above idle", flows, float64(peak)/1e6)
	require.Less(t, peak, uint64(flows*mostAFlow+batchRecords*batchBytes))
}

// BenchmarkReceiver is one wide window from List's bytes on the wire to the last record
// handed on, and the memory that it takes.
func BenchmarkReceiver(b *testing.B) {
	address := wideServer(b, wide)
	var took time.Duration
	b.ResetTimer()
	for range b.N {
		_, t := readWide(b, address)
		took += t
	}
	b.StopTimer()
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/window")
	defer littleGarbage()()
	peak, _ := readWide(b, address)
	b.ReportMetric(float64(peak)/1e6, "peak-in-use-MB") // with a tenth of garbage, see littleGarbage
}
