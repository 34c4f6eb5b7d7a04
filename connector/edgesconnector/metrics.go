package edgesconnector

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// pointsAnEdge is how many series an edge has at most.
const pointsAnEdge = 5

// Names that OpenTelemetry gives.
const (
	ioDirection = "network.io.direction"
	transmit    = "transmit"
	receive     = "receive"
	// overflow is the only attribute of the series that stands for all over the bound.
	overflow = "otel.metric.overflow"
)

// metricsOf says what the counters have counted until now.
func metricsOf(all []*counters, now time.Time) (pmetric.Metrics, error) {
	metrics := pmetric.NewMetrics()
	for _, g := range all {
		// By way of a record's resource, which is how the origin is kept.
		logs, _, err := newLogs(g.resource, flowlog.StreamEdges)
		if err != nil {
			return metrics, err
		}
		resource := metrics.ResourceMetrics().AppendEmpty()
		logs.ResourceLogs().At(0).Resource().CopyTo(resource.Resource())
		scope := resource.ScopeMetrics().AppendEmpty()
		scope.Scope().SetName(scopeName)
		w := newPoints(scope.Metrics(), now)
		var over series
		for n := range g.series {
			e, s := &g.edges.List[n], &g.series[n]
			switch {
			case s.start.IsZero():
			case e.Source == flowlog.OverflowIdentity && e.Destination == flowlog.OverflowIdentity:
				if over.start.IsZero() || s.start.Before(over.start) {
					over.start = s.start
				}
				over.Add(&s.Sum)
				if e.Action == flowlog.ActionDeny {
					w.overDenied += s.Flows
				}
			default:
				w.edge(&e.Edge, s)
			}
		}
		if !over.start.IsZero() {
			w.overflow(&over)
		}
	}
	return metrics, nil
}

const scopeName = "github.com/goldtrail/goldtrail/connector/edgesconnector"

// points writes data points.
type points struct {
	now                            pcommon.Timestamp
	io, flows, connections, denies pmetric.NumberDataPointSlice
	overDenied                     int64
}

func newPoints(metrics pmetric.MetricSlice, now time.Time) *points {
	counter := func(name, unit, description string) pmetric.NumberDataPointSlice {
		m := metrics.AppendEmpty()
		m.SetName(name)
		m.SetUnit(unit)
		m.SetDescription(description)
		sum := m.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		return sum.DataPoints()
	}
	return &points{
		now:         pcommon.NewTimestampFromTime(now),
		io:          counter("calico.edge.io", "By", "Bytes between two services: transmit is what the source sent, receive what came back."),
		flows:       counter("calico.edge.flows", "{flow}", "Flow records between two services that count: one for each flow and window."),
		connections: counter("calico.edge.connections", "{connection}", "Connections started between two services."),
		denies:      counter("calico.edge.denies", "{flow}", "Flow records between two services that were denied."),
	}
}

func (p *points) add(to pmetric.NumberDataPointSlice, s *series, n int64, edge func(pcommon.Map)) pcommon.Map {
	point := to.AppendEmpty()
	point.SetStartTimestamp(pcommon.NewTimestampFromTime(s.start))
	point.SetTimestamp(p.now)
	point.SetIntValue(n)
	edge(point.Attributes())
	return point.Attributes()
}

func (p *points) all(s *series, denied int64, edge func(pcommon.Map)) {
	p.add(p.io, s, s.SourceBytes, edge).PutStr(ioDirection, transmit)
	p.add(p.io, s, s.DestinationBytes, edge).PutStr(ioDirection, receive)
	p.add(p.flows, s, s.Flows, edge)
	p.add(p.connections, s, s.ConnectionsStarted, edge)
	if denied > 0 {
		p.add(p.denies, s, denied, edge)
	}
}

func (p *points) edge(e *flowlog.Edge, s *series) {
	denied := int64(0)
	if e.Action == flowlog.ActionDeny {
		denied = s.Flows
	}
	p.all(s, denied, e.WriteTo)
}

// overflow writes what is over the bound. Both directions of its bytes are one, so that the
// attribute that OpenTelemetry has for it is the only one.
func (p *points) overflow(s *series) {
	edge := func(m pcommon.Map) { m.PutBool(overflow, true) }
	p.add(p.io, s, s.SourceBytes+s.DestinationBytes, edge)
	p.add(p.flows, s, s.Flows, edge)
	p.add(p.connections, s, s.ConnectionsStarted, edge)
	if p.overDenied > 0 {
		p.add(p.denies, s, p.overDenied, edge)
	}
}
