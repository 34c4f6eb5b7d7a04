package trail

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeLoki answers query_range as Loki does: the first `limit` entries of all streams
// in [start, end), grouped by stream. It lives for the awkward cases; the end-to-end
// tests read from a real one.
type fakeLoki struct {
	entries []Entry // in any order
	// refuse, if not nil, answers instead, if it likes.
	refuse func(w http.ResponseWriter, start, end, limit int64) bool

	mu    sync.Mutex // guards calls
	calls int
}

func (f *fakeLoki) serve(t *testing.T) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.calls++
		f.mu.Unlock()
		assert.Equal(t, "/loki/api/v1/query_range", r.URL.Path)
		assert.Equal(t, "categorize-labels", r.Header.Get("X-Loki-Response-Encoding-Flags"))
		q := r.URL.Query()
		assert.Equal(t, "forward", q.Get("direction"))
		start, end, limit := number(t, q, "start"), number(t, q, "end"), number(t, q, "limit")
		if f.refuse == nil || !f.refuse(w, start, end, limit) {
			assert.NoError(t, json.NewEncoder(w).Encode(f.answer(start, end, limit)))
		}
	}))
	t.Cleanup(server.Close)
	return &Client{URL: server.URL + "/", HTTP: server.Client()}
}

// asked is how many questions there were.
func (f *fakeLoki) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func number(t *testing.T, q url.Values, name string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	assert.NoError(t, err, name)
	return n
}

func (f *fakeLoki) answer(start, end, limit int64) any {
	entries := slices.Clone(f.entries)
	slices.SortStableFunc(entries, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][]any           `json:"values"`
	}
	streams := map[string]*stream{}
	result := []*stream{}
	for _, e := range entries {
		if at := e.Time.UnixNano(); at < start || at >= end || limit == 0 {
			continue
		}
		limit--
		s := streams[streamKey(e.Stream)]
		if s == nil {
			s = &stream{Stream: e.Stream}
			streams[streamKey(e.Stream)] = s
			result = append(result, s)
		}
		s.Values = append(s.Values, []any{strconv.FormatInt(e.Time.UnixNano(), 10), e.Line, map[string]any{"structuredMetadata": e.Metadata}})
	}
	slices.Reverse(result) // Loki promises no order of streams
	return map[string]any{"status": "success", "data": map[string]any{
		"resultType": "streams", "encodingFlags": []string{"categorize-labels"}, "result": result,
	}}
}

// begin is the start of every range that the tests read, in seconds.
const begin = 100

// collect reads all entries of the flow stream from begin until to, in seconds.
func collect(t *testing.T, c *Client, to int64) ([]Entry, error) {
	t.Helper()
	var entries []Entry
	for e, err := range c.Entries(t.Context(), Flows(""), time.Unix(begin, 0), time.Unix(to, 0)) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func requireAll(t *testing.T, c *Client, to int64) []Entry {
	t.Helper()
	entries, err := collect(t, c, to)
	require.NoError(t, err)
	return entries
}

func streamKey(labels map[string]string) string { return fmt.Sprint(labels) }
