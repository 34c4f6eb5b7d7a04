package edgesconnector

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/connector/edgesconnector/internal/metadata"
	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// meter is the logs to metrics side. It keeps nothing: a counter that begins anew says so
// by its start.
type meter struct {
	cfg   *Config
	set   connector.Settings
	next  consumer.Metrics
	clock clockwork.Clock
	count *metadata.TelemetryBuilder
	read  reader

	// mu guards what follows.
	mu       sync.Mutex
	origins  origins
	counters []*counters

	// stop ends the goroutine and done waits for it; stop is nil until Start succeeded.
	stop context.CancelFunc
	done sync.WaitGroup
}

var _ connector.Logs = (*meter)(nil)

func newMeter(set connector.Settings, cfg *Config, next consumer.Metrics) (*meter, error) {
	count, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &meter{cfg: cfg, set: set, next: next, count: count, read: reader{log: set.Logger}, clock: clockwork.NewRealClock()}, nil
}

// Capabilities implements consumer.Logs.
func (*meter) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

// Start begins to hand on.
func (m *meter) Start(ctx context.Context, _ component.Host) error {
	// The work outlives Start's context, by the Collector's contract.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	m.done.Go(func() { m.run(background) })
	return nil
}

// Shutdown ends the work, waits for it, and hands the counters on once more. Without a
// Start that succeeded, or the second time, it does nothing.
func (m *meter) Shutdown(ctx context.Context) error {
	if m.stop == nil {
		return nil
	}
	m.stop()
	m.done.Wait()
	m.stop = nil
	m.handOn(ctx)
	m.count.Shutdown()
	return nil
}

func (m *meter) run(ctx context.Context) {
	ticker := m.clock.NewTicker(m.cfg.Metrics.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
			m.handOn(ctx)
		}
	}
}

// ConsumeLogs takes flow and coverage records, and leaves others alone. It never fails.
func (m *meter) ConsumeLogs(ctx context.Context, logs plog.Logs) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	for _, resource := range logs.ResourceLogs().All() {
		origin, err := m.origins.of(resource.Resource())
		if err != nil {
			m.set.Logger.Error("A resource cannot be read; its records are not counted", zap.Error(err))
			continue
		}
		g := m.countersLocked(origin)
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				g.take(&m.read, record, now)
			}
		}
		g.sweep()
		g.tally.tell(ctx, m.count)
	}
	return nil
}

// countersLocked returns the counters of an origin, which it makes if it is new.
func (m *meter) countersLocked(origin []byte) *counters {
	for _, g := range m.counters {
		if bytes.Equal(g.resource, origin) {
			return g
		}
	}
	g := newCounters(origin, m.cfg.Metrics.MaxSeries)
	m.counters = append(m.counters, g)
	return g
}

// handOn hands the counters on. What the pipeline does not take is in the next ones.
func (m *meter) handOn(ctx context.Context) {
	m.mu.Lock()
	metrics, err := metricsOf(m.counters, m.clock.Now())
	m.mu.Unlock()
	switch {
	case err != nil:
		m.set.Logger.Error("Cannot make metrics", zap.Error(err))
	case metrics.DataPointCount() > 0:
		if err := m.next.ConsumeMetrics(ctx, metrics); err != nil {
			m.count.EdgesRefusals.Add(ctx, 1)
			m.set.Logger.Warn("The pipeline refuses metrics; the next ones say the same and more", zap.Error(err))
		}
	}
}

// counters count the flows of one origin.
type counters struct {
	resource []byte
	edges    known
	// series are by an edge's number.
	series  []series
	windows map[int64]*window
	// newest is the end of the newest window, and swept what it was at the last sweep.
	newest, swept int64
	// finals are the windows that became final last, which are not closed yet.
	finals []int64
	tally  tally
}

// series is what is counted of one edge.
type series struct {
	start time.Time
	flowlog.Sum
}

// idleSeries is how long an edge must not be seen for its series to end, in seconds.
const idleSeries = secondsADay

func newCounters(resource []byte, mostSeries int) *counters {
	return &counters{resource: resource, edges: newKnown(mostSeries/pointsAnEdge - 1), windows: map[int64]*window{}}
}

func (g *counters) take(read *reader, record plog.LogRecord, now time.Time) {
	switch record.EventName() {
	case flowlog.EventName:
		var o observation
		if read.flow(&o, record, &g.tally) {
			g.flow(&o, now)
		}
	case flowlog.EventCoverage:
		var r report
		if r.read(record) && r.final {
			g.final(r.from)
		}
	}
}

func (g *counters) flow(o *observation, now time.Time) {
	w := g.windows[o.start]
	switch {
	case o.start > now.Unix()+mostAhead:
		g.tally.future++
		return
	case o.end <= g.newest-keptWindows*(o.end-o.start) || w != nil && w.Closed:
		g.tally.tooOld++
		return
	case w == nil:
		w = &window{Start: o.start, End: o.end}
		g.windows[o.start] = w
		g.newest = max(g.newest, o.end)
	}
	if !w.Seen.add(o.key) {
		g.tally.repeated++
		return
	}
	n, _, overflowed := g.edges.number(o)
	if overflowed {
		g.tally.overflowed++
	}
	for int(n) >= len(g.series) {
		g.series = append(g.series, series{})
	}
	if g.series[n].start.IsZero() {
		g.series[n].start = now
	}
	g.series[n].Add(&flowlog.Sum{Flows: 1, Counters: o.counters})
}

// final notes that a window is final.
func (g *counters) final(start int64) {
	w := g.windows[start]
	if w == nil || w.Final {
		return
	}
	w.Final = true
	g.finals = append(g.finals, start)
	for len(g.finals) > closeAfter {
		if w := g.windows[g.finals[0]]; w != nil {
			w.close()
		}
		g.finals = g.finals[1:]
	}
}

// sweep forgets old windows, and series of edges that are idle.
func (g *counters) sweep() {
	if g.newest == g.swept {
		return
	}
	hour := g.newest/3600 != g.swept/3600
	g.swept = g.newest
	for start, w := range g.windows {
		if w.End <= g.newest-keptWindows*(w.End-w.Start) {
			delete(g.windows, start)
		}
	}
	if !hour {
		return
	}
	for _, n := range g.edges.forget(g.newest-idleSeries, 0, func(uint32) bool { return false }) {
		g.series[n] = series{}
	}
}
