package trail

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

const (
	quarterStart = int64(1_763_769_600)
	quarterEnd   = quarterStart + quarter
)

type batch struct {
	stream  string
	records []func(plog.LogRecord)
}

// fileOf writes batches as the Collector's file exporter does.
func fileOf(t *testing.T, batches ...batch) *File {
	t.Helper()
	var file strings.Builder
	for _, b := range batches {
		file.WriteString(fileLineOf(t, b.stream, "test", b.records...))
	}
	path := filepath.Join(t.TempDir(), "trail.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(file.String()), 0o600))
	return &File{Path: path}
}

func toPaymentsEdge() flowlog.Edge {
	return flowlog.Edge{Source: "web", Destination: "payments", Port: 443, Transport: "tcp", Action: flowlog.ActionAllow}
}

// rawQuarter is a quarter of an hour in flow records: an edge of 100 bytes in every window.
func rawQuarter() []batch {
	flows, coverage := batch{stream: flowlog.StreamFlows}, batch{stream: flowlog.StreamCoverage}
	for start := quarterStart; start < quarterEnd; start += defaultWindow {
		f := flowlog.Flow{
			Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: "web", Name: "web-*"},
			Destination: flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: "payments", Name: "api-*"},
			Transport:   "tcp", Port: 443, Action: flowlog.ActionAllow, Reporter: flowlog.ReporterBoth, Counts: true,
			Start: start, End: start + defaultWindow, Counters: flowlog.Counters{SourceBytes: 100},
		}
		flows.records = append(flows.records, func(lr plog.LogRecord) {
			line, key := f.AppendLine(nil)
			f.WriteTo(lr, string(line), key)
			lr.Attributes().PutStr(flowlog.SourceIdentity, "web")
			lr.Attributes().PutStr(flowlog.DestinationIdentity, "payments")
		})
		c := flowlog.Coverage{Start: start, End: start + defaultWindow, Status: flowlog.StatusComplete, Final: true, Records: 1}
		coverage.records = append(coverage.records, c.WriteTo)
	}
	return []batch{flows, coverage}
}

// rolled is a rollup of the quarter, of a number of bytes that tells it from the flows.
func rolled(e flowlog.Edge, sequence, bytes int64) func(plog.LogRecord) {
	r := flowlog.Rollup{
		Edge: e, Start: quarterStart, End: quarterEnd, Final: true, Sequence: sequence, Windows: 60, Complete: 60, Total: 60,
		First: quarterStart, Last: quarterEnd, Sum: flowlog.Sum{Flows: 60, Counters: flowlog.Counters{SourceBytes: bytes}},
	}
	return r.WriteTo
}

func closing(sequence, edges, complete int64) func(plog.LogRecord) {
	c := flowlog.Closing{Start: quarterStart, End: quarterEnd, Sequence: sequence, Edges: edges, Complete: complete, Total: 60}
	return c.WriteTo
}

// Rollups answer only where they are all there, and hide nothing that is asked for.
func TestRollupsThatAnswer(t *testing.T) {
	lump := flowlog.Edge{Source: flowlog.OverflowIdentity, Destination: flowlog.OverflowIdentity, Action: flowlog.ActionAllow}
	toPayments, denied := Filter{Destination: []string{"payments"}}, Filter{Denied: true}
	const fromRollups, fromFlows = 777, 6000
	for name, test := range map[string]struct {
		rollups []func(plog.LogRecord)
		filter  Filter
		bytes   int64 // of the edge to payments, 0 for none
		used    int   // rollups' intervals
	}{
		"closed":                                  {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), closing(9, 1, 60)}, Filter{}, fromRollups, 1},
		"closed, filtered":                        {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), closing(9, 1, 60)}, toPayments, fromRollups, 1},
		"closed, nothing is wanted":               {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), closing(9, 1, 60)}, denied, 0, 1},
		"not closed yet":                          {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777)}, Filter{}, fromFlows, 0},
		"not closed yet, filtered":                {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777)}, toPayments, fromFlows, 0},
		"one is lost":                             {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), closing(9, 2, 60)}, Filter{}, fromFlows, 0},
		"one is lost, seen through a glob":        {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), closing(9, 2, 60)}, Filter{Destination: []string{"pay*"}}, fromFlows, 0},
		"repeats make no edge":                    {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 8, 7), rolled(toPaymentsEdge(), 9, 777), closing(9, 2, 60)}, Filter{}, fromFlows, 0},
		"amended, and not closed anew":            {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 7), closing(9, 1, 60), rolled(toPaymentsEdge(), 11, 777)}, Filter{}, fromRollups, 1},
		"the latest closing counts":               {[]func(plog.LogRecord){closing(12, 1, 60), rolled(toPaymentsEdge(), 9, 777), closing(9, 2, 30)}, Filter{}, fromRollups, 1},
		"it knows of fewer windows":               {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), closing(9, 1, 59)}, Filter{}, fromFlows, 0},
		"some edges are one, all are asked for":   {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), rolled(lump, 9, 5), closing(9, 2, 60)}, Filter{}, fromRollups, 1},
		"some edges are one, which hides some":    {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), rolled(lump, 9, 5), closing(9, 2, 60)}, toPayments, fromFlows, 0},
		"and through a glob":                      {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), rolled(lump, 9, 5), closing(9, 2, 60)}, Filter{Source: []string{"w*"}}, fromFlows, 0},
		"some edges are one, of another outcome":  {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), rolled(lump, 9, 5), closing(9, 2, 60)}, denied, 0, 1},
		"a closing of another length is not ours": {[]func(plog.LogRecord){rolled(toPaymentsEdge(), 9, 777), (&flowlog.Closing{Start: quarterStart, End: quarterStart + hour, Sequence: 9, Edges: 1, Complete: 240, Total: 240}).WriteTo}, Filter{}, fromFlows, 0},
	} {
		t.Run(name, func(t *testing.T) {
			file := fileOf(t, append(rawQuarter(), batch{flowlog.StreamEdgesQuarters, test.rollups})...)
			trail := &Trail{Source: file, Cluster: "test", Clock: clockwork.NewFakeClockAt(time.Unix(quarterEnd+600, 0))}
			a, err := trail.Edges(t.Context(), &EdgesQuestion{Span: unix(quarterStart, quarterEnd), Filter: test.filter})
			require.NoError(t, err)
			assert.Equal(t, test.used, a.Read.Quarters, "rollups used")
			bytes := int64(0)
			for _, e := range a.Edges {
				if e.Destination == "payments" {
					bytes = e.SentBytes
				}
			}
			assert.Equal(t, test.bytes, bytes)
			assert.InDelta(t, 100, a.Coverage.Percent, 0)
		})
	}
}
