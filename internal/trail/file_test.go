package trail

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// fileLine is a line of the file exporter: records of a stream and a cluster at seconds since
// the epoch. A record's text is its time.
func fileLine(t testing.TB, stream, cluster string, seconds ...int64) string {
	t.Helper()
	var records []func(plog.LogRecord)
	for _, at := range seconds {
		records = append(records, func(lr plog.LogRecord) {
			lr.SetTimestamp(pcommon.NewTimestampFromTime(time.Unix(at, 0)))
			lr.Body().SetStr(time.Unix(at, 0).UTC().Format(time.TimeOnly))
		})
	}
	return fileLineOf(t, stream, cluster, records...)
}

func fileLineOf(t testing.TB, stream, cluster string, records ...func(plog.LogRecord)) string {
	t.Helper()
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(flowlog.ServiceName, stream)
	resource.Resource().Attributes().PutStr(flowlog.ClusterName, cluster)
	list := resource.ScopeLogs().AppendEmpty().LogRecords()
	for _, write := range records {
		write(list.AppendEmpty())
	}
	b, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	require.NoError(t, err)
	return string(b) + "\n"
}

func writeFile(t testing.TB, lines ...string) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trail.jsonl")
	var all bytes.Buffer
	for _, line := range lines {
		all.WriteString(line)
	}
	require.NoError(t, os.WriteFile(path, all.Bytes(), 0o600))
	return &File{Path: path}
}

func readFile(t testing.TB, f *File, q *Question) []string {
	t.Helper()
	var entries []Entry
	require.NoError(t, f.Read(t.Context(), q, func(e *Entry) error {
		entries = append(entries, *e)
		return nil
	}))
	slices.SortFunc(entries, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	return lines(entries)
}

// Rotated files may be joined in any order: the first records are those of the least time.
func TestFileLimitTakesTheEarliest(t *testing.T) {
	f := writeFile(t,
		fileLine(t, flowlog.StreamFlows, "c", 50, 40, 60),
		fileLine(t, flowlog.StreamFlows, "c", 10, 20, 30),
		fileLine(t, flowlog.StreamFlows, "other", 1),
		fileLine(t, flowlog.StreamFlows, "c", 40, 10, 5),
	)
	q := &Question{Cluster: "c", Stream: flowlog.StreamFlows, Spans: []Span{unix(0, 100)}, Limit: 1}
	assert.Equal(t, []string{"00:00:05"}, readFile(t, f, q))
	q.Limit = 3
	assert.Equal(t, []string{"00:00:05", "00:00:10", "00:00:20"}, readFile(t, f, q), "a repeat is none of them")
	q.Spans = []Span{unix(15, 100), unix(35, 60)}
	assert.Equal(t, []string{"00:00:20", "00:00:30", "00:00:40", "00:00:50"}, readFile(t, f, q), "each span has its own")
	q.Limit = 100
	assert.Len(t, readFile(t, f, q), 5)
	// A file does not apply the filter, so that the first need not be what is asked for.
	q.Limit, q.Filter = 1, ` |= "final"`
	assert.Len(t, readFile(t, f, q), 5)
}

// A question reads the lines that were there at the first one, whatever becomes of the file.
func TestFileIsReadAsItWas(t *testing.T) {
	f := writeFile(t, fileLine(t, flowlog.StreamFlows, "c", 10, 20), fileLine(t, flowlog.StreamFlows, "c", 30, 40))
	all := &Question{Cluster: "c", Stream: flowlog.StreamFlows, Spans: []Span{unix(0, 100)}}
	want := readFile(t, f, all)
	require.Len(t, want, 4)
	overwrite := func(flags int, text string) {
		t.Helper()
		file, err := os.OpenFile(f.Path, os.O_WRONLY|flags, 0)
		require.NoError(t, err)
		_, err = file.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}

	overwrite(os.O_APPEND, fileLine(t, flowlog.StreamFlows, "c", 50))
	assert.Equal(t, want, readFile(t, f, all), "it has grown")

	overwrite(0, "###")
	nothing := func(*Entry) error { return nil }
	require.ErrorContains(t, f.Read(t.Context(), all, nothing), f.Path+" was written over while it was read: the line at byte 0 is another now")
	later := &Question{Cluster: "c", Stream: flowlog.StreamFlows, Spans: []Span{unix(25, 35)}}
	assert.Equal(t, []string{"00:00:30"}, readFile(t, f, later), "only the lines of the span are read")

	require.NoError(t, os.Truncate(f.Path, 100))
	require.ErrorContains(t, f.Read(t.Context(), later, nothing), "was written over while it was read")

	stopped, stop := context.WithCancel(t.Context())
	stop()
	require.ErrorIs(t, f.Read(stopped, all, nothing), context.Canceled)
	_, err := (&File{Path: f.Path}).Span(stopped)
	require.ErrorIs(t, err, context.Canceled)
}

func TestFileIsReadThoughRotated(t *testing.T) {
	f := writeFile(t, fileLine(t, flowlog.StreamFlows, "c", 10, 20))
	var told []int
	f.Progress = func(_ string, done, all int) { told = append(told, 100*done/all) }
	all := &Question{Cluster: "c", Stream: flowlog.StreamFlows, Spans: []Span{unix(0, 100)}}
	want := readFile(t, f, all)
	assert.Equal(t, []int{100}, told)
	require.NoError(t, os.Rename(f.Path, f.Path+".1"))
	require.NoError(t, os.WriteFile(f.Path, []byte("another\n"), 0o600))
	assert.Equal(t, want, readFile(t, f, all))
}

// A line can begin before a span and end after it, and have nothing in it.
func TestFileSpans(t *testing.T) {
	f := writeFile(t,
		fileLine(t, flowlog.StreamFlows, "a", 20, 90),
		fileLine(t, flowlog.StreamCoverage, "b", 50, 10),
		fileLine(t, "another service", "c", 1, 100),
	)
	span, err := f.Span(t.Context())
	require.NoError(t, err)
	assert.Equal(t, Span{time.Unix(10, 0).UTC(), time.Unix(105, 0).UTC()}, span)
	for _, tt := range []struct {
		span Span
		want []string
	}{
		{unix(0, 200), []string{"a", "b"}},
		{unix(10, 20), []string{"b"}},
		{unix(30, 40), []string{}},
		{unix(60, 91), []string{"a"}},
		{unix(91, 200), []string{}},
	} {
		clusters, err := f.Clusters(t.Context(), tt.span)
		require.NoError(t, err)
		assert.Equal(t, tt.want, clusters, "%v", tt.span)
	}
	at, ok, err := f.Begin(t.Context(), "b", unix(11, 200))
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, int64(50), at.Unix())
}

// What cannot be read is said, wherever it stands, and whatever was asked.
func TestFileNotes(t *testing.T) {
	flows := fileLine(t, flowlog.StreamFlows, "c", 10, 20)
	coverage := fileLine(t, flowlog.StreamCoverage, "c", 10, 20)
	unended := strings.TrimSuffix(flows, "\n")
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"sound", []string{flows, "\n", coverage, unended}, nil},
		{"corrupt in the middle", []string{flows, "{\"resourceLogs\":[}\n", coverage}, []string{" has 1 lines that are no OTLP JSON: they are not read"}},
		{"torn at a bracket", []string{flows, coverage[:strings.LastIndex(coverage, "}]")]}, []string{" ends amid a line, as after a crash or while it is written: that line is not read"}},
		{"both", []string{"hello\n", flows, "{]}\n", flows[:50]}, []string{" ends amid a line, as after a crash or while it is written: that line is not read", " has 2 lines that are no OTLP JSON: they are not read"}},
		{"two in one", []string{flows, unended + coverage}, []string{" has 1 lines that are no OTLP JSON: they are not read"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := writeFile(t, tt.lines...)
			assert.Empty(t, f.Notes())
			assert.Len(t, readFile(t, f, &Question{Cluster: "c", Stream: flowlog.StreamFlows, Spans: []Span{unix(0, 100)}}), 2)
			for i := range tt.want {
				tt.want[i] = f.Path + tt.want[i]
			}
			assert.Equal(t, tt.want, f.Notes())
		})
	}
}

// A file of another kind may have no line ends at all.
func TestFileBoundsALine(t *testing.T) {
	line := fileLine(t, flowlog.StreamFlows, "c", 10)
	f := writeFile(t, line, strings.Repeat("x", 3<<20), "\n", line, strings.Repeat("x", 3<<20))
	file, err := os.Open(f.Path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, file.Close()) })
	x := &fileIndex{file: file, sections: make(map[fileStream][]section), longest: 1000}
	require.NoError(t, x.read(t.Context(), nil))
	assert.Equal(t, 2, x.tooLong)
	assert.LessOrEqual(t, cap(x.buffer), 2000)
	assert.Len(t, x.sections[fileStream{flowlog.StreamFlows, "c"}], 2)
	f.known = x
	assert.Equal(t, []string{f.Path + " has 2 lines of more than 128 MiB: they are not read"}, f.Notes())
}

// BenchmarkFileEdges asks a file of a day, without rollups, for all its edges: what is read
// in an hour's worth is asked for 24 times.
func BenchmarkFileEdges(b *testing.B) {
	const windows, flows = 24 * 240, 20
	begin := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).Unix()
	path := filepath.Join(b.TempDir(), "trail.jsonl")
	out, err := os.Create(path)
	require.NoError(b, err)
	size := 0
	for start := begin; start < begin+windows*15; start += 15 {
		coverage := flowlog.Coverage{Start: start, End: start + 15, Status: flowlog.StatusComplete, Final: true, Records: flows}
		for _, line := range []string{flowsLine(b, start, flows), fileLineOf(b, flowlog.StreamCoverage, "c", coverage.WriteTo)} {
			n, err := out.WriteString(line)
			require.NoError(b, err)
			size += n
		}
	}
	require.NoError(b, out.Close())
	b.SetBytes(int64(size))
	for b.Loop() {
		t := &Trail{Source: &File{Path: path}, Cluster: "c", Clock: clockwork.NewFakeClockAt(time.Unix(begin+windows*15, 0))}
		a, err := t.Edges(b.Context(), &EdgesQuestion{Span: unix(begin, begin+windows*15)})
		require.NoError(b, err)
		require.Equal(b, int64(windows*flows), a.Read.Records)
		require.Equal(b, int64(windows), a.Coverage.Complete)
	}
}

// flowsLine is a line with n flow records of a window.
func flowsLine(t testing.TB, start int64, n int) string {
	t.Helper()
	var records []func(plog.LogRecord)
	for i := range n {
		name := fmt.Sprintf("service-%d", i)
		hit := "np:" + name + "/allow-from-web#0=allow"
		flow := flowlog.Flow{
			Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: "web", Name: "web-6c9f8d7b5-*"},
			Destination: flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: name, Name: name + "-*"},
			Transport:   "tcp", Port: 8080, Action: flowlog.ActionAllow, Reporter: flowlog.ReporterBoth, Counts: true, Deciding: hit, Ingress: hit,
			Start: start, End: start + 15,
			Counters: flowlog.Counters{SourcePackets: 20, SourceBytes: 1500, DestinationPackets: 18, DestinationBytes: 90000, ConnectionsStarted: 2},
		}
		records = append(records, func(lr plog.LogRecord) {
			line, key := flow.AppendLine(nil)
			flow.WriteTo(lr, string(line), key)
			lr.Attributes().PutStr(flowlog.SourceIdentity, "web")
			lr.Attributes().PutStr(flowlog.DestinationIdentity, name)
		})
	}
	return fileLineOf(t, flowlog.StreamFlows, "c", records...)
}
