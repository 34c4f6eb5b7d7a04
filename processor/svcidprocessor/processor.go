package svcidprocessor

import (
	"context"
	"sync"

	"github.com/jonboulle/clockwork"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/otel/metric"

	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// svcid stamps batches; any number of them at a time.
type svcid struct {
	cfg       *Config
	set       processor.Settings
	clock     clockwork.Clock
	counters  *counters
	directory *directory
	// informers is nil where the Kubernetes API is not asked, and until Start.
	informers *informers
	// stampers holds idle *stamper, one for each batch in work.
	stampers sync.Pool
}

func newProcessor(set processor.Settings, cfg *Config) (*svcid, error) {
	keep, err := labelglob.Compile(cfg.KeepLabels)
	if err != nil {
		return nil, err
	}
	counters, err := newCounters(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	clock := clockwork.NewRealClock()
	directory := newDirectory(cfg, clock)
	rules := newRules(cfg, directory)
	return &svcid{
		cfg: cfg, set: set, clock: clock, counters: counters, directory: directory,
		stampers: sync.Pool{New: func() any {
			return &stamper{rules: rules, keep: keep.Filter()}
		}},
	}, nil
}

// start begins to read the Kubernetes API where the configuration says so. It does not
// wait for it: until it answers, identities rest on the flows alone.
func (p *svcid) start(_ context.Context, host component.Host) error {
	cfg := p.cfg.Kubernetes.Get()
	if cfg == nil {
		return nil
	}
	api, err := newAPI(cfg, p.set.BuildInfo.Command+"/"+p.set.BuildInfo.Version+" svcid")
	if err != nil {
		return err
	}
	if err := p.counters.telemetry.RegisterSvcidKubernetesPodsCallback(func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(p.directory.alivePods())
		return nil
	}); err != nil {
		return err
	}
	p.informers = &informers{
		cfg: cfg, static: p.cfg.MultiServiceNamespaces, directory: p.directory, api: api, clock: p.clock,
		contact: newContact(p.set.TelemetrySettings, p.counters.telemetry, host),
	}
	// The work outlives Start's context, by the Collector's contract.
	p.informers.start(context.Background()) //nolint:contextcheck // see above
	return nil
}

// shutdown ends the reading and waits for it. Without a start it does nothing.
func (p *svcid) shutdown(context.Context) error {
	if p.informers != nil {
		p.informers.shutdown()
		p.informers = nil
	}
	p.counters.telemetry.Shutdown()
	return nil
}

// processLogs stamps in place. It never fails: what is wrong with a record is counted.
func (p *svcid) processLogs(ctx context.Context, logs plog.Logs) (plog.Logs, error) {
	st := p.stampers.Get().(*stamper)
	p.stamp(st, logs)
	p.counters.add(ctx, &st.tally)
	st.tally = tally{}
	p.stampers.Put(st)
	return logs, nil
}

// stamp holds the directory still, so that a batch is stamped by one state of it. Nobody
// holds it longer than it takes to note a list of Pods.
func (p *svcid) stamp(st *stamper, logs plog.Logs) {
	p.directory.mu.RLock()
	defer p.directory.mu.RUnlock()
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				st.stamp(record)
			}
		}
	}
}
