package svcidprocessor

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/processor/svcidprocessor/internal/metadatatest"
)

// startProcessor starts the processor as the Collector does; the test's end stops it.
func startProcessor(t *testing.T, cfg *Config, sink *consumertest.LogsSink) (processor.Logs, *componenttest.Telemetry) {
	t.Helper()
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, telemetry.Shutdown(context.WithoutCancel(t.Context()))) })
	p, err := NewFactory().CreateLogs(t.Context(), metadatatest.NewSettings(telemetry), cfg, sink)
	require.NoError(t, err)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, p.Shutdown(context.WithoutCancel(t.Context()))) })
	return p, telemetry
}

func TestFactory(t *testing.T) {
	factory := NewFactory()
	assert.Equal(t, component.MustNewType("svcid"), factory.Type())
	assert.Equal(t, component.StabilityLevelAlpha, factory.LogsStability())

	p, _ := startProcessor(t, factory.CreateDefaultConfig().(*Config), new(consumertest.LogsSink))
	assert.True(t, p.Capabilities().MutatesData)
}

// The Collector validates first; what does not is told all the same.
func TestCreateRefusesBadGlob(t *testing.T) {
	cfg := testConfig()
	cfg.KeepLabels = []string{"ok", "{"}
	telemetry := componenttest.NewTelemetry()
	_, err := NewFactory().CreateLogs(t.Context(), metadatatest.NewSettings(telemetry), cfg, new(consumertest.LogsSink))
	require.ErrorContains(t, err, `"{" must be made of`)
	require.NoError(t, telemetry.Shutdown(t.Context()))
}

func TestProcessor(t *testing.T) {
	sink := new(consumertest.LogsSink)
	p, telemetry := startProcessor(t, testConfig(), sink)

	grafana := newRecord(t, raw{
		flowlog.SourceType: "workload", flowlog.SourceNamespace: "payments", flowlog.SourceLabels: raw{"app": "api"},
		flowlog.DestinationType: "workload", flowlog.DestinationNamespace: "monitoring", flowlog.DestinationLabels: raw{"service-identity": "grafana"},
	})
	outside := newRecord(t, raw{
		flowlog.SourceType: "host", flowlog.SourceName: "node-1",
		flowlog.DestinationType: "network", flowlog.DestinationName: "pub", flowlog.DestinationNamespace: 5,
	})
	other := plog.NewLogRecord()
	other.Body().SetStr("not a flow")
	unlabelled := newRecord(t, raw{
		flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring", flowlog.SourceLabels: "malformed",
		flowlog.DestinationType: "type-9",
	})

	// Records lie in several scopes and resources, and come in two batches.
	first := newBatch(grafana, other, outside)
	unlabelled.CopyTo(first.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty())
	grafana.CopyTo(first.ResourceLogs().At(0).ScopeLogs().AppendEmpty().LogRecords().AppendEmpty())
	require.NoError(t, p.ConsumeLogs(t.Context(), first))
	require.NoError(t, p.ConsumeLogs(t.Context(), newBatch(outside)))

	var ends [][2]string
	for _, logs := range sink.AllLogs() {
		for _, resource := range logs.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					got := record.Attributes().AsRaw()
					if len(got) == 0 {
						assert.Equal(t, "not a flow", record.Body().Str())
						continue
					}
					ends = append(ends, [2]string{got[flowlog.SourceIdentity].(string), got[flowlog.DestinationIdentity].(string)})
				}
			}
		}
	}
	assert.Equal(t, [][2]string{
		{"payments", "monitoring/grafana"},
		{"host:node-1", "internet"},
		{"payments", "monitoring/grafana"},
		{"monitoring/?", "?"},
		{"host:node-1", "internet"},
	}, ends)

	metadatatest.AssertEqualSvcidEndpoints(t, telemetry, []metricdata.DataPoint[int64]{
		endpoints("source", "namespace", 2),
		endpoints("source", "host", 2),
		endpoints("source", "unlabelled", 1, attribute.String("reason", "missing")),
		endpoints("destination", "label", 2),
		endpoints("destination", "network", 2),
		endpoints("destination", "unknown", 1),
	}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualSvcidMalformedAttributes(t, telemetry, []metricdata.DataPoint[int64]{
		malformed(flowlog.SourceLabels, 1),
		malformed(flowlog.DestinationNamespace, 2),
	}, metricdatatest.IgnoreTimestamp())
}

func endpoints(side, basis string, n int64, reason ...attribute.KeyValue) metricdata.DataPoint[int64] {
	return metricdata.DataPoint[int64]{
		Value:      n,
		Attributes: attribute.NewSet(append(reason, attribute.String("basis", basis), attribute.String("side", side))...),
	}
}

func malformed(key string, n int64) metricdata.DataPoint[int64] {
	return metricdata.DataPoint[int64]{Value: n, Attributes: attribute.NewSet(attribute.String("attribute", key))}
}

func TestConcurrentBatches(t *testing.T) {
	const senders, batches, size = 4, 20, 50
	cfg := testConfig()
	cfg.KeepLabels = []string{"app*"}
	sink := new(consumertest.LogsSink)
	p, telemetry := startProcessor(t, cfg, sink)
	records := make([]plog.LogRecord, size)
	for i := range records {
		records[i] = benchRecord(i)
	}

	var done sync.WaitGroup
	for range senders {
		done.Go(func() {
			for range batches {
				assert.NoError(t, p.ConsumeLogs(t.Context(), newBatch(records...)))
			}
		})
	}
	done.Wait()

	require.Equal(t, senders*batches*size, sink.LogRecordCount())
	first := recordsOf(sink.AllLogs()[0])
	for _, logs := range sink.AllLogs() {
		for i, record := range recordsOf(logs).All() {
			require.True(t, record.Attributes().Equal(first.At(i).Attributes()), "record %d", i)
		}
	}
	got, err := telemetry.GetMetric("goldtrail_svcid_endpoints")
	require.NoError(t, err)
	var total int64
	for _, point := range got.Data.(metricdata.Sum[int64]).DataPoints {
		total += point.Value
	}
	assert.Equal(t, int64(2*senders*batches*size), total)
}
