package edgesconnector

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/connector/edgesconnector/internal/metadata"
	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// rollups is the logs to logs side.
type rollups struct {
	cfg   *Config
	set   connector.Settings
	next  consumer.Logs
	clock clockwork.Clock
	count *metadata.TelemetryBuilder
	read  reader

	// saying is held while something is handed on, so that nothing is twice. It guards nothing,
	// and is taken before mu.
	saying sync.Mutex
	// mu guards what follows.
	mu    sync.Mutex
	state *state
	store *store
	// origins are resources as they come, and what state.cluster knows them by.
	origins origins

	// stop ends the goroutine and done waits for it; stop is nil until Start succeeded.
	stop context.CancelFunc
	done sync.WaitGroup
}

var _ connector.Logs = (*rollups)(nil)

// sayEvery is how often it is looked for something to hand on.
const sayEvery = 10 * time.Second

func newRollups(set connector.Settings, cfg *Config, next consumer.Logs) (*rollups, error) {
	count, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &rollups{
		cfg: cfg, set: set, next: next, count: count, clock: clockwork.NewRealClock(),
		read: reader{log: set.Logger}, state: newState(settingsOf(cfg)), store: &store{},
	}, nil
}

// Capabilities implements consumer.Logs.
func (*rollups) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

// Start takes up what is stored, and begins to hand on.
func (r *rollups) Start(ctx context.Context, host component.Host) error {
	store, err := openStore(ctx, host, r.cfg.StorageID, r.set.ID)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.store = store
	r.resumeLocked(ctx)
	// The work outlives Start's context, by the Collector's contract.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	r.done.Go(func() { r.run(background) })
	return nil
}

// resumeLocked takes up the stored state, or begins anew.
func (r *rollups) resumeLocked(ctx context.Context) {
	st, err := r.store.load(ctx)
	if err != nil {
		r.set.Logger.Error("Cannot read all that is stored; rollups of intervals under way may lack something, and known edges may seem new", zap.Error(err))
	}
	if st != nil {
		if st.Version != stateVersion {
			st.migrate()
			r.set.Logger.Warn("What is stored is of a version that added up otherwise: the known edges are kept, the sums of intervals under way are given up, and rollups begin with the next interval")
		}
		if st.change(settingsOf(r.cfg)) {
			r.set.Logger.Warn("'interval' has changed; what was summed up of intervals under way is given up")
		}
		r.state = st
	}
	for _, c := range r.state.Clusters {
		c.tally = tally{} // of what was counted before
	}
	if err := r.store.save(ctx, r.state); err != nil {
		r.storageFailed(ctx, err)
	}
}

// Shutdown ends the work, waits for it, and hands on all there is. Without a Start that
// succeeded, or the second time, it does nothing.
func (r *rollups) Shutdown(ctx context.Context) error {
	if r.stop == nil {
		return nil
	}
	r.stop()
	r.done.Wait()
	r.stop = nil
	r.say(ctx, true)
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.store.save(context.WithoutCancel(ctx), r.state)
	r.count.Shutdown()
	return errors.Join(err, r.store.close(ctx))
}

func (r *rollups) run(ctx context.Context) {
	ticker := r.clock.NewTicker(sayEvery)
	defer ticker.Stop()
	for {
		r.say(ctx, false)
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
		}
	}
}

// ConsumeLogs takes flow and coverage records, and leaves others alone. It returns when
// what they have changed is stored. It never fails: to refuse would not mend anything, and
// would have the receiver hand all on again.
func (r *rollups) ConsumeLogs(ctx context.Context, logs plog.Logs) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now().Unix()
	e := newEntry(now)
	changed := false
	for _, resource := range logs.ResourceLogs().All() {
		origin, err := r.origins.of(resource.Resource())
		if err != nil {
			r.set.Logger.Error("A resource cannot be read; its records are not summed up", zap.Error(err))
			continue
		}
		c := r.state.cluster(origin)
		e.cluster(c)
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				if r.take(c, e, record, now) {
					changed = true
				}
			}
		}
	}
	if !changed {
		r.tell(ctx)
		return nil
	}
	r.state.sweep()
	r.tell(ctx)
	// What was taken is noted even if the caller does not wait.
	r.writeLocked(context.WithoutCancel(ctx), e)
	return nil
}

// take takes one record, and reports whether it changed anything.
func (r *rollups) take(c *cluster, e *entry, record plog.LogRecord, now int64) bool {
	switch record.EventName() {
	case flowlog.EventName:
		var o observation
		if !r.read.flow(&o, record, &c.tally) {
			return false
		}
		is := c.flow(&o, now)
		if is.changed && r.store.client != nil {
			e.flow(&o, is)
		}
		return is.changed
	case flowlog.EventCoverage, flowlog.EventGap:
		var rep report
		if !rep.read(record) {
			c.tally.malformed++
			return false
		}
		changed := c.coverage(&rep, now)
		if changed && r.store.client != nil {
			e.report(&rep)
		}
		return changed
	}
	return false
}

// writeLocked stores an entry. A failure is logged and counted: flows go on, and what is
// missing is stored with the next one.
func (r *rollups) writeLocked(ctx context.Context, e *entry) {
	if err := r.store.write(ctx, e, r.state); err != nil {
		r.storageFailed(ctx, err)
	}
}

func (r *rollups) storageFailed(ctx context.Context, err error) {
	r.count.EdgesStorageFailures.Add(ctx, 1)
	r.set.Logger.Error("Cannot store what was summed up; a crash now would make rollups wrong", zap.Error(err))
}

// say hands on what there is to say, until the pipeline refuses: with all, also what is
// not final.
func (r *rollups) say(ctx context.Context, all bool) {
	r.saying.Lock()
	defer r.saying.Unlock()
	for ctx.Err() == nil {
		p, logs := r.pack(ctx, all)
		if p == nil {
			return
		}
		err := r.next.ConsumeLogs(ctx, logs)
		by := metric.WithAttributeSet(attribute.NewSet(attribute.String("kind", p.kind())))
		switch {
		case err == nil:
			r.count.EdgesRecordsEmitted.Add(ctx, int64(p.records()), by)
		case consumererror.IsPermanent(err):
			p.rejected = true
			r.count.EdgesRecordsLost.Add(ctx, int64(p.records()), by)
			r.set.Logger.Error("The pipeline rejected edge records for good; they are not in the trail",
				zap.String("kind", p.kind()), zap.Int("records", p.records()), zap.Error(err))
		default:
			r.count.EdgesRefusals.Add(ctx, 1)
			r.set.Logger.Warn("The pipeline refuses edge records; will try again, and flows go on meanwhile",
				zap.String("kind", p.kind()), zap.Int("records", p.records()), zap.Error(err))
			return
		}
		r.note(ctx, p)
	}
}

// pack returns what is to be handed on next, or nil.
func (r *rollups) pack(ctx context.Context, all bool) (*parcel, plog.Logs) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := 0
	for _, c := range r.state.Clusters {
		known += c.Edges.size()
	}
	r.count.EdgesKnown.Record(ctx, int64(known))
	p := r.state.next(r.clock.Now().Unix(), all)
	if p == nil {
		return nil, plog.Logs{}
	}
	logs, err := p.logs()
	if err != nil {
		r.set.Logger.Error("Cannot make edge records", zap.Error(err))
		return nil, plog.Logs{}
	}
	return p, logs
}

// note notes that a parcel was handed on.
func (r *rollups) note(ctx context.Context, p *parcel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.cluster.said(p)
	if r.store.client == nil {
		return
	}
	e := newEntry(r.clock.Now().Unix())
	e.cluster(p.cluster)
	if p.news {
		e.announced(p)
	} else {
		e.said(p)
	}
	r.writeLocked(context.WithoutCancel(ctx), e)
}

// tell has telemetry hear what was counted.
func (r *rollups) tell(ctx context.Context) {
	for _, c := range r.state.Clusters {
		c.tally.tell(ctx, r.count)
	}
}

func (t *tally) tell(ctx context.Context, count *metadata.TelemetryBuilder) {
	add := func(to metric.Int64Counter, n int64, by ...attribute.KeyValue) {
		if n > 0 {
			to.Add(ctx, n, metric.WithAttributeSet(attribute.NewSet(by...)))
		}
	}
	add(count.EdgesRecordsRepeated, t.repeated)
	add(count.EdgesOverflowed, t.overflowed)
	add(count.EdgesRecordsDiscarded, t.malformed, attribute.String("reason", "malformed"))
	add(count.EdgesRecordsDiscarded, t.noCounts, attribute.String("reason", "no_counts"))
	add(count.EdgesRecordsDiscarded, t.future, attribute.String("reason", "future"))
	add(count.EdgesRecordsDiscarded, t.tooOld, attribute.String("reason", "too_old"))
	for g, n := range t.lost {
		add(count.EdgesRecordsLost, n, attribute.String("kind", kinds[g]))
	}
	*t = tally{}
}

// origins remembers the resource that came last: nearly always it is the one that comes
// next.
type origins struct {
	last   pcommon.Map
	origin []byte
}

func (o *origins) of(resource pcommon.Resource) ([]byte, error) {
	attrs := pcommon.NewMap()
	resource.Attributes().CopyTo(attrs)
	if o.origin != nil && attrs.Equal(o.last) {
		return o.origin, nil
	}
	origin, err := originOf(resource)
	if err != nil {
		return nil, err
	}
	o.last, o.origin = attrs, origin
	return origin, nil
}

func sortedKeys(m pcommon.Map) []string {
	keys := make([]string, 0, m.Len())
	for key := range m.All() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
