package edgesconnector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/goldtrail/goldtrail/connector/edgesconnector/internal/metadata"
	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// meterRig is the logs to metrics side between a test and a sink.
type meterRig struct {
	t     *testing.T
	clock *clockwork.FakeClock
	meter *meter
	// mu guards what follows.
	mu     sync.Mutex
	refuse error
	took   []pmetric.Metrics
}

func newMeterRig(t *testing.T, mostSeries int) *meterRig {
	t.Helper()
	r := &meterRig{t: t, clock: clockwork.NewFakeClockAt(time.Unix(hourStart, 0))}
	cfg := createDefaultConfig().(*Config)
	cfg.Metrics.MaxSeries = mostSeries
	require.NoError(t, cfg.Validate())
	next, err := consumer.NewMetrics(func(_ context.Context, metrics pmetric.Metrics) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.refuse == nil {
			r.took = append(r.took, metrics)
		}
		return r.refuse
	})
	require.NoError(t, err)
	set := connectortest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	r.meter, err = newMeter(set, cfg, next)
	require.NoError(t, err)
	r.meter.clock = r.clock
	require.NoError(t, r.meter.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, r.meter.Shutdown(context.Background())) })
	return r
}

func (r *meterRig) flows(all ...flowlog.Flow) {
	r.t.Helper()
	require.NoError(r.t, r.meter.ConsumeLogs(context.Background(), flows(all...)))
}

func (r *meterRig) final(from, to int64) {
	r.t.Helper()
	require.NoError(r.t, r.meter.ConsumeLogs(context.Background(), covers(from, to, flowlog.StatusComplete, true)))
}

// point is one data point.
type point struct {
	value      int64
	start      time.Time
	attributes map[string]any
}

// points are what is handed on now, by metric and what tells them apart.
func (r *meterRig) points() map[string]point {
	r.t.Helper()
	r.meter.handOn(context.Background())
	r.mu.Lock()
	defer r.mu.Unlock()
	points := map[string]point{}
	if len(r.took) == 0 {
		return points
	}
	for _, resource := range r.took[len(r.took)-1].ResourceMetrics().All() {
		for _, m := range resource.ScopeMetrics().At(0).Metrics().All() {
			require.True(r.t, m.Sum().IsMonotonic())
			require.Equal(r.t, pmetric.AggregationTemporalityCumulative, m.Sum().AggregationTemporality())
			for _, p := range m.Sum().DataPoints().All() {
				a := p.Attributes().AsRaw()
				name := fmt.Sprint(m.Name(), " ", a[flowlog.SourceIdentity], " ", a[flowlog.FlowAction], " ", a[ioDirection])
				if a[overflow] == true {
					name = m.Name() + " overflow"
				}
				_, twice := points[name]
				require.False(r.t, twice, "%s is there twice", name)
				points[name] = point{p.IntValue(), p.StartTimestamp().AsTime(), a}
			}
		}
	}
	return points
}

func TestMetrics(t *testing.T) {
	r := newMeterRig(t, 100)
	denied := flow(0, "c", "b", src, 3)
	denied.Action = flowlog.ActionDeny
	unconfirmed := flow(0, "a", "b", src, 4)
	unconfirmed.Action = flowlog.ActionUnconfirmed
	repeated := notCounted(denied) // Calico goes on reporting a denial, without a packet
	repeated.Counters = flowlog.Counters{}
	r.flows(flow(0, "a", "b", both, 100), flow(0, "a", "b", src, 10), notCounted(flow(0, "a", "b", dst, 5)), flow(0, "x", "b", dst, 7),
		denied, repeated, unconfirmed)
	preview := flows(flow(0, "a", "b", src, 1000))
	preview.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).SetEventName(flowlog.EventPreview)
	require.NoError(t, r.meter.ConsumeLogs(context.Background(), preview))
	r.flows(flow(0, "a", "b", both, 100)) // again, exactly
	edge := func(source, action string) map[string]any {
		return map[string]any{
			flowlog.SourceIdentity: source, flowlog.DestinationIdentity: "b", flowlog.DestinationPort: int64(8080),
			flowlog.NetworkTransport: "tcp", flowlog.FlowAction: action,
		}
	}
	io := func(source, action, direction string) map[string]any {
		a := edge(source, action)
		a[ioDirection] = direction
		return a
	}
	began := r.clock.Now().UTC()
	want := map[string]point{
		"calico.edge.io a allow transmit":             {110, began, io("a", "allow", "transmit")},
		"calico.edge.io a allow receive":              {220, began, io("a", "allow", "receive")},
		"calico.edge.flows a allow <nil>":             {2, began, edge("a", "allow")},
		"calico.edge.connections a allow <nil>":       {6, began, edge("a", "allow")},
		"calico.edge.io a unconfirmed transmit":       {4, began, io("a", "unconfirmed", "transmit")},
		"calico.edge.io a unconfirmed receive":        {8, began, io("a", "unconfirmed", "receive")},
		"calico.edge.flows a unconfirmed <nil>":       {1, began, edge("a", "unconfirmed")},
		"calico.edge.connections a unconfirmed <nil>": {3, began, edge("a", "unconfirmed")},
		"calico.edge.io c deny transmit":              {3, began, io("c", "deny", "transmit")},
		"calico.edge.io c deny receive":               {6, began, io("c", "deny", "receive")},
		"calico.edge.flows c deny <nil>":              {1, began, edge("c", "deny")},
		"calico.edge.connections c deny <nil>":        {3, began, edge("c", "deny")},
		"calico.edge.denies c deny <nil>":             {1, began, edge("c", "deny")},
		"calico.edge.io x allow transmit":             {7, began, io("x", "allow", "transmit")},
		"calico.edge.io x allow receive":              {14, began, io("x", "allow", "receive")},
		"calico.edge.flows x allow <nil>":             {1, began, edge("x", "allow")},
		"calico.edge.connections x allow <nil>":       {3, began, edge("x", "allow")},
	}
	assert.Equal(t, want, r.points())

	late := flow(0, "a", "b", src, 1)
	late.Late = true
	r.final(0, 1)
	r.clock.Advance(time.Second)
	r.flows(late)
	got := r.points()["calico.edge.io a allow transmit"]
	assert.Equal(t, int64(111), got.value)
	assert.Equal(t, began, got.start)
}

func TestMetricsStayWithinTheirCap(t *testing.T) {
	const most = 50
	r := newMeterRig(t, most)
	bytes := int64(0)
	for i := range int64(200) {
		f := flow(i/10, fmt.Sprint("s", i), "b", src, i)
		if i%2 == 0 {
			f.Action = flowlog.ActionDeny
		}
		bytes += 3 * i
		r.flows(f)
	}
	points := r.points()
	assert.LessOrEqual(t, len(points), most)
	assert.Greater(t, len(points), most-2*pointsAnEdge, "the cap should be made use of")
	sum := int64(0)
	for name, p := range points {
		if len(name) > len("calico.edge.io") && name[:len("calico.edge.io")] == "calico.edge.io" {
			sum += p.value
		}
	}
	assert.Equal(t, bytes, sum, "nothing is dropped")
	for _, name := range []string{"calico.edge.io", "calico.edge.flows", "calico.edge.connections", "calico.edge.denies"} {
		assert.Equal(t, map[string]any{"otel.metric.overflow": true}, points[name+" overflow"].attributes)
	}
}

func TestIdleSeriesEnd(t *testing.T) {
	r := newMeterRig(t, 100)
	r.flows(flow(0, "a", "b", src, 100), flow(0, "c", "b", dst, 100))
	for h := int64(1); h < 26; h++ {
		r.clock.Advance(time.Hour)
		r.flows(flow(h*hourWindows, "a", "b", src, 1))
		r.final(h*hourWindows, h*hourWindows+1)
	}
	points := r.points()
	assert.Equal(t, int64(125), points["calico.edge.io a allow transmit"].value)
	assert.NotContains(t, points, "calico.edge.io c allow transmit")
	r.flows(flow(25*hourWindows+1, "c", "b", src, 5))
	again := r.points()["calico.edge.io c allow transmit"]
	assert.Equal(t, int64(5), again.value)
	assert.Equal(t, r.clock.Now().UTC(), again.start, "a counter that begins anew says so")
}

func TestMetricsAreHandedOnByTheClock(t *testing.T) {
	r := newMeterRig(t, 100)
	r.flows(flow(0, "a", "b", src, 1))
	r.mu.Lock()
	r.refuse = errors.New("busy")
	r.mu.Unlock()
	require.NoError(t, r.clock.BlockUntilContext(t.Context(), 1))
	r.clock.Advance(defaultMetricsInterval)
	r.mu.Lock()
	r.refuse = nil
	r.mu.Unlock()
	require.Eventually(t, func() bool {
		r.clock.Advance(defaultMetricsInterval)
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.took) > 0
	}, patience, time.Millisecond)
}
