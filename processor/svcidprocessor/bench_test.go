package svcidprocessor

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
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
	const size = 1024
	b.Run("room", func(b *testing.B) { benchmarkProcess(b, size, true, nil) })
	b.Run("tight", func(b *testing.B) { benchmarkProcess(b, size, false, nil) })
	b.Run("keep_labels", func(b *testing.B) { benchmarkProcess(b, size, true, []string{"app*", "team"}) })
}

func benchmarkProcess(b *testing.B, size int, room bool, keep []string) {
	telemetry := componenttest.NewTelemetry()
	b.Cleanup(func() { require.NoError(b, telemetry.Shutdown(context.WithoutCancel(b.Context()))) })
	p, err := newProcessor(metadatatest.NewSettings(telemetry), &Config{
		Separator: "/", Labels: []string{"service-identity"}, MultiServiceNamespaces: []string{"monitoring"}, KeepLabels: keep,
	})
	require.NoError(b, err)
	template := make([]plog.LogRecord, size)
	for i := range template {
		template[i] = benchRecord(i)
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
	records := float64(b.N) * float64(size)
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
