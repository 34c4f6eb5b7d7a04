package svcidprocessor

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// svcid stamps batches; any number of them at a time.
type svcid struct {
	counters *counters
	// stampers holds idle *stamper, one for each batch in work.
	stampers sync.Pool
}

func newProcessor(set component.TelemetrySettings, cfg *Config) (*svcid, error) {
	keep, err := labelglob.Compile(cfg.KeepLabels)
	if err != nil {
		return nil, err
	}
	counters, err := newCounters(set)
	if err != nil {
		return nil, err
	}
	rules := newRules(cfg)
	return &svcid{
		counters: counters,
		stampers: sync.Pool{New: func() any {
			return &stamper{rules: rules, keep: keep.Filter()}
		}},
	}, nil
}

// processLogs stamps in place. It never fails: what is wrong with a record is counted.
func (p *svcid) processLogs(ctx context.Context, logs plog.Logs) (plog.Logs, error) {
	st := p.stampers.Get().(*stamper)
	for _, resource := range logs.ResourceLogs().All() {
		for _, scope := range resource.ScopeLogs().All() {
			for _, record := range scope.LogRecords().All() {
				st.stamp(record)
			}
		}
	}
	p.counters.add(ctx, &st.tally)
	st.tally = tally{}
	p.stampers.Put(st)
	return logs, nil
}
