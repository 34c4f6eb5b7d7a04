package svcidprocessor

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/processor/svcidprocessor/internal/metadatatest"
)

// benchRecord returns a flow record as a cluster has them: 25 attributes, two of them
// maps of 8 labels. By turns it is from a single-Service namespace to a multi-Service
// one with and without the label, to outside, to a host and to a network set; fewer
// attributes where there is no Service or no labels.
func benchRecord(i int) plog.LogRecord {
	record := plog.NewLogRecord()
	record.SetEventName(flowlog.EventName)
	record.SetTimestamp(pcommon.Timestamp(1_760_000_000_000_000_000 + i))
	record.Body().SetStr(fmt.Sprintf("allow frontend/web-* -> monitoring/grafana-*:%d", i))
	a := record.Attributes()
	a.EnsureCapacity(25)
	a.PutStr(flowlog.NetworkTransport, "tcp")
	a.PutStr(flowlog.SourceType, flowlog.TypeWorkload)
	a.PutStr(flowlog.SourceName, "web-78cb8f69c8-*")
	a.PutStr(flowlog.SourceNamespace, fmt.Sprintf("frontend-%d", i%20))
	benchLabels(a.PutEmptyMap(flowlog.SourceLabels), "web", true)
	switch i % 8 {
	case 0, 1, 2:
		a.PutStr(flowlog.DestinationType, flowlog.TypeWorkload)
		a.PutStr(flowlog.DestinationName, "grafana-5c9fd8b7f-*")
		a.PutStr(flowlog.DestinationNamespace, "monitoring")
		benchLabels(a.PutEmptyMap(flowlog.DestinationLabels), fmt.Sprintf("grafana-%d", i%40), i%8 != 2)
		a.PutStr(flowlog.DestinationServiceName, "grafana")
		a.PutStr(flowlog.DestinationServiceNamespace, "monitoring")
		a.PutStr(flowlog.DestinationServicePortName, "http")
		a.PutInt(flowlog.DestinationServicePort, 80)
	case 3, 4, 5:
		a.PutStr(flowlog.DestinationType, flowlog.TypeNetwork)
		a.PutStr(flowlog.DestinationName, flowlog.NetworkPublic)
	case 6:
		a.PutStr(flowlog.DestinationType, flowlog.TypeHost)
		a.PutStr(flowlog.DestinationName, fmt.Sprintf("node-%d.example.com", i%100))
	case 7:
		a.PutStr(flowlog.DestinationType, flowlog.TypeNetworkSet)
		a.PutStr(flowlog.DestinationName, fmt.Sprintf("payments/partners-%d", i%10))
		a.PutStr(flowlog.DestinationNamespace, "payments")
	}
	a.PutInt(flowlog.DestinationPort, 3000)
	a.PutStr(flowlog.FlowAction, flowlog.ActionAllow)
	a.PutStr(flowlog.FlowReporter, flowlog.ReporterBoth)
	a.PutInt(flowlog.FlowStart, 1_760_000_000)
	a.PutInt(flowlog.FlowEnd, 1_760_000_015)
	a.PutInt(flowlog.FlowSourcePackets, 10)
	a.PutInt(flowlog.FlowSourceBytes, 1234)
	a.PutInt(flowlog.FlowDestinationPackets, 8)
	a.PutInt(flowlog.FlowDestinationBytes, 999)
	a.PutInt(flowlog.FlowConnectionsStarted, 3)
	a.PutInt(flowlog.FlowConnectionsCompleted, 2)
	a.PutInt(flowlog.FlowConnectionsLive, 1)
	return record
}

func benchLabels(m pcommon.Map, app string, identity bool) {
	m.EnsureCapacity(8)
	for _, key := range []string{
		"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/name", "app.kubernetes.io/part-of",
		"pod-template-hash", "projectcalico.org/namespace", "projectcalico.org/orchestrator",
	} {
		m.PutStr(key, app)
	}
	if identity {
		m.PutStr("service-identity", app)
	} else {
		m.PutStr("team", app)
	}
}

// BenchmarkProcess measures whole batches of 1024 records, counters included. Every batch
// is a fresh copy, made while the timer stands: a record that is stamped already is less work.
// "tight" records have no room for further attributes, as they come from a decoder or
// a copy; those with "room" were made with capacity for the processor's.
func BenchmarkProcess(b *testing.B) {
	b.Run("room", func(b *testing.B) { benchmarkProcess(b, benchConfig(), benchRecords(), true, nil) })
	b.Run("tight", func(b *testing.B) { benchmarkProcess(b, benchConfig(), benchRecords(), false, nil) })
	b.Run("keep_labels", func(b *testing.B) {
		cfg := benchConfig()
		cfg.KeepLabels = []string{"app*", "team"}
		benchmarkProcess(b, cfg, benchRecords(), true, nil)
	})
}

// BenchmarkLookups is BenchmarkProcess where both ends of every record have to be looked
// up among 20,000 Pods in 2,000 workloads; "churn" while Pods come and go, 20 a second
// each, and "gone" where all Pods are remembered only.
func BenchmarkLookups(b *testing.B) {
	cfg := benchConfig()
	cfg.Kubernetes = configoptional.Some(KubernetesConfig{AuthType: AuthKubeConfig, ForgetAfter: 10 * time.Minute})
	records := benchRecords()
	for i, record := range records {
		for s := range sideCount {
			record.Attributes().PutStr(readKeys[s][fieldType], flowlog.TypeWorkload)
			record.Attributes().PutStr(readKeys[s][fieldNamespace], "monitoring")
			record.Attributes().PutStr(readKeys[s][fieldName], clusterPod((i*2+int(s))*7919%cachedPods).GenerateName+"*")
			if labels, ok := record.Attributes().Get(readKeys[s][fieldLabels]); ok {
				labels.Map().Remove("service-identity")
			}
		}
	}
	fill := func(b *testing.B, d *directory) *feed {
		f := newFeed(d, d.namespaces["monitoring"], podResource)
		for i := range cachedPods {
			require.NoError(b, f.Add(clusterPod(i)))
		}
		return f
	}
	b.Run("still", func(b *testing.B) {
		benchmarkProcess(b, cfg, records, true, func(d *directory) func() { fill(b, d); return func() {} })
	})
	b.Run("churn", func(b *testing.B) {
		benchmarkProcess(b, cfg, records, true, func(d *directory) func() {
			f := fill(b, d)
			done := make(chan struct{})
			var stopped sync.WaitGroup
			stopped.Go(func() {
				ticker := time.NewTicker(time.Second / 20)
				defer ticker.Stop()
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					case <-ticker.C:
						_ = f.Delete(clusterPod(i % cachedPods))
						_ = f.Add(clusterPod(i % cachedPods))
					}
				}
			})
			return func() { close(done); stopped.Wait() }
		})
	})
	b.Run("gone", func(b *testing.B) {
		benchmarkProcess(b, cfg, records, true, func(d *directory) func() {
			require.NoError(b, fill(b, d).Replace(nil, "2"))
			return func() {}
		})
	})
}

func benchConfig() *Config {
	return &Config{Separator: "/", Labels: []string{"service-identity"}, MultiServiceNamespaces: []string{"monitoring"}}
}

func benchRecords() []plog.LogRecord {
	records := make([]plog.LogRecord, 1024)
	for i := range records {
		records[i] = benchRecord(i)
	}
	return records
}

// benchmarkProcess stamps copies of template. know tells the directory what there is, and
// returns what ends that.
func benchmarkProcess(b *testing.B, cfg *Config, template []plog.LogRecord, room bool, know func(*directory) func()) {
	telemetry := componenttest.NewTelemetry()
	b.Cleanup(func() { require.NoError(b, telemetry.Shutdown(context.WithoutCancel(b.Context()))) })
	p, err := newProcessor(metadatatest.NewSettings(telemetry), cfg)
	require.NoError(b, err)
	if know != nil {
		defer know(p.directory)()
	}

	var busy time.Duration
	var allocs uint64
	var before, after runtime.MemStats
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		batch := newBatch(template...)
		if room {
			for _, record := range recordsOf(batch).All() {
				record.Attributes().EnsureCapacity(record.Attributes().Len() + 5)
			}
		}
		runtime.ReadMemStats(&before)
		b.StartTimer()
		start := time.Now()
		if _, err := p.processLogs(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		busy += time.Since(start)
		b.StopTimer()
		runtime.ReadMemStats(&after)
		allocs += after.Mallocs - before.Mallocs
	}
	records := float64(b.N) * float64(len(template))
	b.ReportMetric(records/busy.Seconds(), "records/s")
	b.ReportMetric(float64(busy.Nanoseconds())/records, "ns/record")
	b.ReportMetric(float64(allocs)/records, "allocs/record")
}

// The only allocations are the attribute values, two for each end and a reason where there
// is one, and where the record has no room for them its attributes once more.
func TestAllocations(t *testing.T) {
	st := newStamper(t, &Config{Separator: "/", Labels: []string{"service-identity"}, MultiServiceNamespaces: []string{"monitoring"}, KeepLabels: []string{"app*"}})
	for i := range 8 {
		values := 4.0
		if i == 2 { // unlabelled
			values = 5
		}
		for room, want := range map[int]float64{0: values + 1, 5: values} {
			const runs = 50
			st.stamp(benchRecord(i))
			records := make([]plog.LogRecord, runs+1) // AllocsPerRun runs once more, to warm up
			for j := range records {
				records[j] = plog.NewLogRecord()
				benchRecord(i).CopyTo(records[j])
				attrs := records[j].Attributes()
				attrs.EnsureCapacity(attrs.Len() + room)
			}
			got := testing.AllocsPerRun(runs, func() {
				st.stamp(records[0])
				records = records[1:]
			})
			assert.InDelta(t, want, got, 0.01, "record %d with room for %d", i, room)
		}
	}
}
