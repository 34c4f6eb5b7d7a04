//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// verdict is what the processor made of one end of a flow.
type verdict struct {
	identity, basis, reason string
}

// workloadSink stands in Loki's place and keeps, for every window, the number of
// records and the verdicts on the workloads of some namespaces.
type workloadSink struct {
	url        string
	namespaces map[string]bool

	mu      sync.Mutex // guards windows
	windows map[int64]*sinkWindow
}

// sinkWindow is what the sink has of one window.
type sinkWindow struct {
	records  int
	coverage *flowlog.Coverage // the latest; it comes behind the records that it counts
	// verdicts on workloads, by "namespace/name" as Calico names its pods together.
	// A workload has several where records of a window differ.
	verdicts map[string]map[verdict]bool
}

func newWorkloadSink(t *testing.T, namespaces ...string) *workloadSink {
	t.Helper()
	s := &workloadSink{namespaces: map[string]bool{}, windows: map[int64]*sinkWindow{}}
	for _, ns := range namespaces {
		s.namespaces[ns] = true
	}
	s.url = newOTLPServer(t, s.take)
	return s
}

func (s *workloadSink) take(logs plog.Logs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rl := range logs.ResourceLogs().All() {
		stream, _ := rl.Resource().Attributes().Get(flowlog.ServiceName)
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				w := s.windowLocked(lr.Timestamp().AsTime().Unix())
				if stream.Str() != flowlog.StreamFlows {
					if c, err := flowlog.ParseCoverage(lr.Body().Str()); err == nil {
						w.coverage = &c
					}
					continue
				}
				w.records++
				a := lr.Attributes()
				s.addLocked(w, a, flowlog.SourceType, flowlog.SourceNamespace, flowlog.SourceName,
					flowlog.SourceIdentity, flowlog.SourceIdentityBasis, flowlog.SourceIdentityReason)
				s.addLocked(w, a, flowlog.DestinationType, flowlog.DestinationNamespace, flowlog.DestinationName,
					flowlog.DestinationIdentity, flowlog.DestinationIdentityBasis, flowlog.DestinationIdentityReason)
			}
		}
	}
}

func (s *workloadSink) windowLocked(start int64) *sinkWindow {
	w := s.windows[start]
	if w == nil {
		w = &sinkWindow{verdicts: map[string]map[verdict]bool{}}
		s.windows[start] = w
	}
	return w
}

// addLocked takes one end of a record, whose attributes have these keys.
func (s *workloadSink) addLocked(w *sinkWindow, a pcommon.Map, kind, namespace, name, identity, basis, reason string) {
	get := func(key string) string {
		v, _ := a.Get(key)
		return v.Str()
	}
	if get(kind) != flowlog.TypeWorkload || !s.namespaces[get(namespace)] {
		return
	}
	workload := get(namespace) + "/" + get(name)
	if w.verdicts[workload] == nil {
		w.verdicts[workload] = map[verdict]bool{}
	}
	w.verdicts[workload][verdict{get(identity), get(basis), get(reason)}] = true
}

// window is what has come of a window, and an error if that is not all of it yet.
func (s *workloadSink) window(start int64) (sinkWindow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[start]
	if w == nil || w.coverage == nil {
		return sinkWindow{}, fmt.Errorf("window %d has not come", start)
	}
	return sinkWindow{w.records, w.coverage, maps.Clone(w.verdicts)}, nil
}

// requireVerdicts waits until a window has come, which began at or after since, in which
// each of the workloads has this verdict and no other.
func (s *workloadSink) requireVerdicts(t *testing.T, since int64, want map[string]verdict) {
	t.Helper()
	next, last := since, ""
	requireSoon(t, func(context.Context) error {
		w, err := s.window(next)
		if err != nil {
			return fmt.Errorf("%w%s", err, last)
		}
		for workload, v := range want {
			if got := w.verdicts[workload]; len(got) != 1 || !got[v] {
				last = fmt.Sprintf("; window %d says of %s %v, not %v", next, workload, got, v)
				next++ // a later window may have it
				return errors.New(last)
			}
		}
		return nil
	})
}
