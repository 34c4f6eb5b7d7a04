package trail

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

func entryAt(at time.Time, cluster, line string) Entry {
	return Entry{Time: at, Stream: map[string]string{"k8s_cluster_name": cluster, "service_name": flowlog.StreamFlows}, Line: line}
}

func lines(entries []Entry) []string {
	list := make([]string, 0, len(entries))
	for _, e := range entries {
		list = append(list, e.Line)
	}
	return list
}

// Pages end amid entries of one time, two streams are interleaved, and the number of
// entries is a multiple of the page size: nothing may be lost or come twice.
func TestEntriesReadsEveryPage(t *testing.T) {
	loki := &fakeLoki{}
	var want []string
	for second := range int64(20) {
		for i := range 3 {
			line := fmt.Sprintf("%02d-%d", second, i)
			want = append(want, line)
			cluster := "east"
			if i == 1 {
				cluster = "west"
			}
			loki.entries = append(loki.entries, entryAt(time.Unix(100+second, 0), cluster, line))
		}
	}
	for pageSize := 4; pageSize <= 61; pageSize++ {
		client := loki.serve(t)
		client.PageSize = pageSize
		got := requireAll(t, client, 120)
		require.ElementsMatch(t, want, lines(got), "page size %d", pageSize)
		for i := 1; i < len(got); i++ {
			require.False(t, got[i].Time.Before(got[i-1].Time), "entry %d is out of order", i)
		}
	}
	assert.Greater(t, loki.calls, 61-4, "no query was continued")
}

func TestEntriesTakesTheRangeHalfOpen(t *testing.T) {
	loki := &fakeLoki{entries: []Entry{
		entryAt(time.Unix(100, -1), "c", "before"),
		entryAt(time.Unix(100, 0), "c", "first"),
		entryAt(time.Unix(115, -1), "c", "last"),
		entryAt(time.Unix(115, 0), "c", "after"),
	}}
	assert.Equal(t, []string{"first", "last"}, lines(requireAll(t, loki.serve(t), 115)))
}

func TestEntriesDropsExactRepeatsOnly(t *testing.T) {
	at := time.Unix(100, 5)
	loki := &fakeLoki{entries: []Entry{
		entryAt(at, "east", "a"),
		entryAt(at, "east", "b"),
		entryAt(at, "east", "a"),
		entryAt(at, "west", "a"),
		entryAt(at.Add(1), "east", "a"),
		entryAt(at.Add(1), "east", "a"),
	}}
	assert.ElementsMatch(t, []string{"a", "b", "a", "a"}, lines(requireAll(t, loki.serve(t), 101)))
}

// Loki splits a stream of a high rate into shards, and the repeat of a record may come
// into another one.
func TestEntriesDropsRepeatsAcrossShards(t *testing.T) {
	loki := &fakeLoki{}
	for _, shard := range []string{"0", "1"} {
		e := entryAt(time.Unix(100, 5), "east", "a")
		e.Stream["__stream_shard__"] = shard
		loki.entries = append(loki.entries, e)
	}
	got := requireAll(t, loki.serve(t), 101)
	require.Len(t, got, 1)
	assert.Equal(t, map[string]string{"k8s_cluster_name": "east", "service_name": flowlog.StreamFlows}, got[0].Stream)
}

// With as many entries on one time as a page holds there may be more of them, and no
// query that returns those. That must be an error, not an end.
func TestEntriesRefusesAFullPageOnOneTime(t *testing.T) {
	loki := &fakeLoki{}
	for i := range 10 {
		loki.entries = append(loki.entries, entryAt(time.Unix(100, 0), "c", fmt.Sprint("line ", i)))
	}
	client := loki.serve(t)
	client.PageSize = 10
	_, err := collect(t, client, 101)
	require.ErrorContains(t, err, "more than 9 entries at 1970-01-01T00:01:40Z")

	client.PageSize = 11
	assert.Len(t, requireAll(t, client, 101), 10)
}

func TestEntriesAwkwardAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"a refusal", "parse error\n", http.StatusBadRequest, `Loki answers 400 Bad Request: parse error`},
		{"not JSON", "<html>", http.StatusOK, "invalid character"},
		{"cut off", `{"data":{"resultType":"streams"`, http.StatusOK, "unexpected EOF"},
		{"a metric", `{"data":{"resultType":"matrix","result":[]}}`, http.StatusOK, `"matrix" instead of streams`},
		{"an old Loki", `{"data":{"resultType":"streams","result":[{"stream":{},"values":[["1","a"]]}]}}`, http.StatusOK, "Loki 3.0 or newer"},
		{"a bad time", `{"data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{},"values":[["x","a",{}]]}]}}`, http.StatusOK, "time of an entry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, err := w.Write([]byte(tt.body))
				assert.NoError(t, err)
			}))
			t.Cleanup(server.Close)
			entries, err := collect(t, &Client{URL: server.URL}, 101)
			require.ErrorContains(t, err, tt.want)
			assert.Empty(t, entries)
			if tt.status != http.StatusOK {
				var status *StatusError
				require.ErrorAs(t, err, &status)
				assert.Equal(t, tt.status, status.Status)
			} else {
				var strange *AnswerError
				require.ErrorAs(t, err, &strange)
			}
		})
	}
}

func TestEntriesReadsMetadata(t *testing.T) {
	e := entryAt(time.Unix(100, 0), "c", "a")
	e.Metadata = map[string]string{"source_service_identity": "payments"}
	loki := &fakeLoki{entries: []Entry{e}}
	got := requireAll(t, loki.serve(t), 101)
	require.Len(t, got, 1)
	assert.Equal(t, e.Metadata, got[0].Metadata)
	assert.Equal(t, e.Stream, got[0].Stream)
	assert.True(t, e.Time.Equal(got[0].Time))
}

func TestFlows(t *testing.T) {
	assert.Equal(t, `{service_name="goldmane-flows"}`, Flows(""))
	assert.Equal(t, `{service_name="goldmane-flows", k8s_cluster_name="a\"b"}`, Flows(`a"b`))
}

// A range that is too long, or holds too much, is halved; a page that is too large for
// Loki is made smaller.
func TestReadKeepsToLokisLimits(t *testing.T) {
	var entries []Entry
	for i := range int64(200) {
		entries = append(entries, entryAt(time.Unix(100+i/4, i%4), "c", fmt.Sprint("line ", i)))
	}
	for _, tt := range []struct {
		name, says string
		status     int
		refuse     func(start, end, limit int64) bool
	}{
		{"time range", "the query time range exceeds the limit (query length: 50s, limit: 5s)", http.StatusBadRequest, func(start, end, _ int64) bool { return end-start > 5e9 }},
		{"entries", "max entries limit per query exceeded, limit > max_entries_limit_per_query (5000 > 1000)", http.StatusBadRequest, func(_, _, limit int64) bool { return limit > 1000 }},
		{"time", "context deadline exceeded", http.StatusGatewayTimeout, func(start, end, _ int64) bool { return end-start > 20e9 }},
		{"bytes", "the query would read too many bytes (query: 9GB, limit: 1GB)", http.StatusBadRequest, func(start, end, _ int64) bool { return end-start > 9e9 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			loki := &fakeLoki{entries: entries, refuse: func(w http.ResponseWriter, start, end, limit int64) bool {
				if tt.refuse(start, end, limit) {
					http.Error(w, tt.says, tt.status)
					return true
				}
				return false
			}}
			assert.Len(t, requireAll(t, loki.serve(t), 150), len(entries))
		})
	}
}

// A busy Loki is asked again, and not before it wants to be.
func TestReadAsksAgain(t *testing.T) {
	var times atomic.Int32
	begin := time.Now()
	loki := &fakeLoki{entries: []Entry{entryAt(time.Unix(100, 0), "c", "a")}, refuse: func(w http.ResponseWriter, _, _, _ int64) bool {
		switch times.Add(1) {
		case 1:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many outstanding requests", http.StatusTooManyRequests)
			return true
		case 2:
			http.Error(w, "ingester is starting", http.StatusServiceUnavailable)
			return true
		}
		return false
	}}
	assert.Len(t, requireAll(t, loki.serve(t), 101), 1)
	assert.Equal(t, int32(3), times.Load())
	assert.GreaterOrEqual(t, time.Since(begin), time.Second, "Retry-After")

	impatient := loki.serve(t)
	impatient.Patience = -1
	times.Store(0)
	_, err := collect(t, impatient, 101)
	var refused *StatusError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusTooManyRequests, refused.Status)
	assert.Equal(t, int32(1), times.Load())
}

// A gateway that always gives up is asked for smaller parts a few times, and then again
// while there is patience: no more.
func TestReadEndsWhereEverythingTimesOut(t *testing.T) {
	for _, status := range []int{http.StatusGatewayTimeout, http.StatusInternalServerError} {
		loki := &fakeLoki{refuse: func(w http.ResponseWriter, _, _, _ int64) bool {
			http.Error(w, "request timed out", status)
			return true
		}}
		client := loki.serve(t)
		client.Patience = -1
		_, err := collect(t, client, begin+24*3600)
		var refused *StatusError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, status, refused.Status)
		// Up to four hours at a time, and each is halved five times.
		calls := loki.asked()
		assert.GreaterOrEqual(t, calls, 6)
		assert.LessOrEqual(t, calls, 6*defaultParallel)

		client.Patience = 500 * time.Millisecond
		_, err = collect(t, client, begin+60)
		require.ErrorAs(t, err, &refused)
		assert.Greater(t, loki.asked()-calls, 6, "--patience")
	}
}

// What is no Loki is told from a Loki whose answer does not come to its end.
func TestAnswerThatIsCutOff(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, err := w.Write([]byte(`{"data":{"resultType":"streams"`))
		assert.NoError(t, err)
	}))
	t.Cleanup(server.Close)
	_, err := collect(t, &Client{URL: server.URL}, 101)
	var unreachable *UnreachableError
	require.ErrorAs(t, err, &unreachable)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
