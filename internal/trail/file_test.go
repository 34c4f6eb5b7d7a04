package trail

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

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
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(flowlog.ServiceName, stream)
	resource.Resource().Attributes().PutStr(flowlog.ClusterName, cluster)
	records := resource.ScopeLogs().AppendEmpty().LogRecords()
	for _, at := range seconds {
		lr := records.AppendEmpty()
		lr.SetTimestamp(timestamp(at))
		lr.Body().SetStr(time.Unix(at, 0).UTC().Format(time.TimeOnly))
	}
	b, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	require.NoError(t, err)
	return string(b) + "\n"
}

func timestamp(seconds int64) pcommon.Timestamp {
	return pcommon.NewTimestampFromTime(time.Unix(seconds, 0))
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
