package edgesconnector

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// traffic is one window's records: of so many edges, each with two records, one in five
// with one of the destination alone.
func traffic(w int64, edges, records int) plog.Logs {
	all := make([]flowlog.Flow, 0, records)
	for i := range records {
		e := i % edges
		reporter := both
		if e%5 == 0 {
			reporter = dst
		}
		f := flow(w, fmt.Sprintf("namespace-%d", e/20), fmt.Sprintf("namespace-%d", e%20), reporter, int64(1000+i))
		f.Port = 8000 + int64(e/400)
		f.Deciding = fmt.Sprintf("cnp:default/namespace-%d/allow-%d#0=allow", e%20, e%3)
		f.Egress, f.Ingress = f.Deciding, f.Deciding
		all = append(all, f)
	}
	return flows(all...)
}

// BenchmarkConsume is windows of 1,000 records on 700 edges, with their coverage records,
// through the connector: alone, with real storage, and as metrics. Windows advance, and
// intervals are said, forgotten and begun.
func BenchmarkConsume(b *testing.B) {
	const edges, most = 700, 1000
	run := func(b *testing.B, consume func(plog.Logs), at func(int64)) {
		b.Helper()
		var busy, slowest time.Duration
		var allocs uint64
		var before, after runtime.MemStats
		w := int64(0)
		one := func(logs plog.Logs) {
			start := time.Now()
			consume(logs)
			took := time.Since(start)
			busy, slowest = busy+took, max(slowest, took)
		}
		b.ResetTimer()
		for range b.N {
			b.StopTimer()
			batch, settled, final := traffic(w, edges, most), covers(w, w+1, flowlog.StatusComplete, false), covers(w-24, w-23, flowlog.StatusComplete, true)
			at(hourStart + w*windowLength)
			runtime.ReadMemStats(&before)
			b.StartTimer()
			one(batch)
			one(settled)
			one(final)
			b.StopTimer()
			runtime.ReadMemStats(&after)
			allocs += after.Mallocs - before.Mallocs
			w++
		}
		n := float64(b.N) * most
		b.ReportMetric(n/busy.Seconds(), "records/s")
		b.ReportMetric(float64(busy.Nanoseconds())/n, "ns/record")
		b.ReportMetric(float64(allocs)/n, "allocs/record")
		b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
	}
	rollups := func(b *testing.B, r *rig) {
		b.Helper()
		r.start()
		run(b, r.give, r.at)
		r.shutdown()
	}
	b.Run("rollups", func(b *testing.B) { rollups(b, newRig(b)) })
	for name, fsync := range map[string]bool{"rollups, storage": false, "rollups, storage, fsync": true} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b)
			r.extensions[fileStorage] = newFileStorage(b, b.TempDir(), fsync)
			r.cfg.StorageID = &fileStorage
			rollups(b, r)
			require.NoError(b, r.extensions[fileStorage].Shutdown(context.Background()))
		})
	}
	b.Run("metrics", func(b *testing.B) {
		r := newRig(b).start()
		defer r.shutdown()
		m, err := newMeter(r.connector.set, r.cfg, consumertest.NewNop())
		require.NoError(b, err)
		m.clock = r.clock
		run(b, func(logs plog.Logs) { require.NoError(b, m.ConsumeLogs(context.Background(), logs)) }, r.at)
	})
}

// mostAnEdge is what an edge may take in memory, in bytes.
const mostAnEdge = 1280

// An edge takes little memory where it matters, when there are many, and at the worst time:
// just after an hour and a day have ended, when both the old and the new are kept.
func TestAnEdgeTakesLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes five seconds")
	}
	const edges, records = 6000, 1500 // a quarter of the edges in every window
	r := newRig(t).withStorage().start()
	defer r.shutdown()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools keep goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	idle := heap()
	last := int64(24*hourWindows + 30)
	for w := int64(22 * hourWindows); w < last; w += 10 {
		r.at(hourStart + w*windowLength)
		for part := range int64(4) { // all edges within ten windows
			var all []flowlog.Flow
			for i := range records {
				e := int(part)*records + i
				reporter := both
				if e%5 == 0 {
					reporter = dst
				}
				f := flow(w+part, fmt.Sprintf("namespace-%d", e/100), fmt.Sprintf("namespace-%d", e%100), reporter, int64(1000+i))
				f.Deciding = fmt.Sprintf("cnp:default/namespace-%d/allow-%d#0=allow", e%100, e%3)
				all = append(all, f)
			}
			r.give(flows(all...))
		}
		r.give(covers(w, w+10, flowlog.StatusComplete, false))
		r.give(covers(w-24, w-14, flowlog.StatusComplete, true))
	}
	r.storage.mu.Lock()
	stored := uint64(0)
	for _, v := range r.storage.values {
		stored += uint64(len(v))
	}
	r.storage.mu.Unlock()
	r.sink.mu.Lock()
	r.sink.took, r.sink.lines = nil, nil
	r.sink.mu.Unlock()
	took := heap() - idle - stored
	r.connector.mu.Lock()
	defer r.connector.mu.Unlock()
	c := r.connector.state.Clusters[0]
	t.Logf("%d bytes an edge in memory, %d in storage; %d quarters, %d intervals, %d days, %d windows", took/edges, stored/edges,
		len(c.Intervals[quarters]), len(c.Intervals[wholes]), len(c.Intervals[days]), len(c.Windows))
	require.Less(t, took/edges, uint64(mostAnEdge))
}
