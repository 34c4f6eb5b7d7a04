package trail

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Loki's max_query_length holds for series too, in Loki's words, and can be shorter than
// what is looked back.
func TestPlacesKeepToTheLongestRange(t *testing.T) {
	const limit = 3 * 24 * time.Hour
	first := time.Date(2026, 11, 20, 7, 30, 0, 0, time.UTC)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/loki/api/v1/series", r.URL.Path)
		start, end := time.Unix(0, number(t, r.URL.Query(), "start")), time.Unix(0, number(t, r.URL.Query(), "end"))
		if length := end.Sub(start); length > limit {
			http.Error(w, fmt.Sprintf("the query time range exceeds the limit (query length: %s, limit: 3d)", length), http.StatusBadRequest)
			return
		}
		data := []map[string]string{}
		if end.After(first) {
			data = append(data, map[string]string{"k8s_cluster_name": "east"})
		}
		assert.NoError(t, json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data}))
	}))
	t.Cleanup(server.Close)
	c := &Client{URL: server.URL, Patience: -1}
	span := Span{first.Add(-60 * 24 * time.Hour), first.Add(24 * time.Hour)}
	clusters, err := c.Clusters(t.Context(), span)
	require.NoError(t, err)
	assert.Equal(t, []string{"east"}, clusters)
	at, ok, err := c.Begin(t.Context(), "east", span)
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, first.Truncate(time.Hour), at.UTC())
	_, ok, err = c.Begin(t.Context(), "east", Span{span.From, first.Add(-time.Hour)})
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestPlacesEndWhereEverythingTimesOut(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.WriteHeader(http.StatusGatewayTimeout)
	}))
	t.Cleanup(server.Close)
	c := &Client{URL: server.URL, Patience: -1}
	_, err := c.Clusters(t.Context(), unix(0, 28*24*3600))
	var refused *StatusError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, 6, calls)
}

func TestPlacesOfWhatIsNoLoki(t *testing.T) {
	for body, want := range map[string]string{
		"<html>":                "invalid character '<'",
		"":                      "EOF",
		"{}":                    `status "" instead of success`,
		`{"data":{"result":1}}`: "cannot unmarshal object",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, err := w.Write([]byte(body))
			assert.NoError(t, err)
		}))
		t.Cleanup(server.Close)
		_, err := (&Client{URL: server.URL}).Clusters(t.Context(), unix(0, 3600))
		var strange *AnswerError
		require.ErrorAs(t, err, &strange, body)
		assert.ErrorContains(t, err, want)
	}
}
