package trail

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// memory is a Source that a test fills. That a Loki and a file answer alike, the tests of
// the command show.
type memory struct {
	mu      sync.Mutex // guards what follows
	entries map[string][]Entry
	asked   []Question // all that Read was called with
	err     error      // of the next Reads
}

func (m *memory) write(stream string, write func(plog.LogRecord)) {
	lr := plog.NewLogRecord()
	write(lr)
	e := Entry{Time: lr.Timestamp().AsTime(), Line: lr.Body().Str(), Metadata: map[string]string{}}
	for key, value := range lr.Attributes().All() {
		e.Metadata[Label(key)] = value.AsString()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries == nil {
		m.entries = make(map[string][]Entry)
	}
	m.entries[stream] = append(m.entries[stream], e)
}

// flow writes a flow record of a window.
func (m *memory) flow(start int64, source string, late bool) {
	f := flowlog.Flow{
		Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: source, Name: "pod-*"},
		Destination: flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: "api", Name: "api-*"},
		Transport:   "tcp", Port: 443, Action: flowlog.ActionAllow, Reporter: flowlog.ReporterBoth,
		Start: start, End: start + defaultWindow, Late: late, Counts: true,
	}
	m.record(&f)
}

// record writes a flow record, with the endpoints' namespaces for identities.
func (m *memory) record(f *flowlog.Flow) {
	line, key := f.AppendLine(nil)
	m.write(flowlog.StreamFlows, func(lr plog.LogRecord) {
		f.WriteTo(lr, string(line), key)
		lr.Attributes().PutStr(flowlog.SourceIdentity, f.Source.Namespace)
		lr.Attributes().PutStr(flowlog.DestinationIdentity, f.Destination.Namespace)
	})
}

// line writes a line into a stream.
func (m *memory) line(stream string, at int64, line string) {
	m.write(stream, func(lr plog.LogRecord) {
		lr.SetTimestamp(pcommon.NewTimestampFromTime(time.Unix(at, 0)))
		lr.Body().SetStr(line)
	})
}

// covered writes a window's coverage record, the settled one or the final one.
func (m *memory) covered(start, records, late int64, final bool) {
	c := flowlog.Coverage{Start: start, End: start + defaultWindow, Status: flowlog.StatusComplete, Final: final, Flows: 1, Records: records, Late: late}
	m.write(flowlog.StreamCoverage, c.WriteTo)
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) reads() []Question {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

func (m *memory) Read(_ context.Context, q *Question, fn func(*Entry) error) error {
	m.mu.Lock()
	err := m.err
	m.asked = append(m.asked, *q)
	entries := m.entries[q.Stream]
	if byTime := func(a, b Entry) int { return a.Time.Compare(b.Time) }; !slices.IsSortedFunc(entries, byTime) {
		slices.SortStableFunc(entries, byTime) // a Loki gives the first of them
	}
	entries = slices.Clone(entries)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	for _, span := range q.Spans {
		n := 0
		for i := range entries {
			if at := entries[i].Time; at.Before(span.From) || !at.Before(span.To) || q.Limit > 0 && n == q.Limit {
				continue
			}
			n++
			if err := fn(&entries[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Clusters(context.Context, Span) ([]string, error) { return []string{""}, nil }

func (m *memory) Begin(_ context.Context, _ string, span Span) (first time.Time, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, list := range m.entries {
		for i := range list {
			if at := list[i].Time; !at.Before(span.From) && at.Before(span.To) && (!ok || at.Before(first)) {
				first, ok = at, true
			}
		}
	}
	return first.Truncate(time.Hour), ok, m.err // to the hour, as of a Loki
}

// at is a time of the day that the tests are about, in seconds.
func at(t *testing.T, clock string) int64 {
	t.Helper()
	when, err := time.Parse(time.DateTime, "2026-11-22 "+clock)
	if err != nil {
		t.Fatal(err)
	}
	return when.Unix()
}

func sources(flows []FlowRecord) (list []string) {
	for i := range flows {
		list = append(list, fmt.Sprintf("%s %s", flows[i].Window.Format(time.TimeOnly), flows[i].Source))
	}
	return list
}
