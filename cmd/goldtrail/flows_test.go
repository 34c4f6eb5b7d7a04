package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// --follow says once that Loki is away, goes on when it is back, and gives up after --patience.
func TestFollowWhileLokiIsAway(t *testing.T) {
	var away atomic.Bool
	loki := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		answer := `{"status":"success","data":[{"k8s_cluster_name":"east"}]}`
		if strings.HasSuffix(r.URL.Path, "/query_range") {
			answer = `{"data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[]}}`
		}
		_, err := w.Write([]byte(answer))
		assert.NoError(t, err)
	}))
	t.Cleanup(loki.Close)
	var out, errs bytes.Buffer // read when the command has ended
	clock := clockwork.NewFakeClock()
	e := &environment{out: &out, err: &errs, getenv: func(string) string { return "" }, clock: clock, zone: time.UTC}
	code := make(chan int)
	go func() { code <- run(t.Context(), e, []string{"flows", "--follow", "--addr", loki.URL}) }()
	for _, gone := range []bool{false, true, true, false, true} {
		require.NoError(t, clock.BlockUntilContext(t.Context(), 1))
		away.Store(gone)
		clock.Advance(3 * time.Second)
	}
	require.NoError(t, clock.BlockUntilContext(t.Context(), 1))
	clock.Advance(time.Minute)
	assert.Equal(t, exitLoki, <-code)
	said := errs.String()
	assert.Equal(t, 2, strings.Count(said, "note: no answer from Loki at "+loki.URL), said)
	assert.Equal(t, 2, strings.Count(said, "; asking again for --patience, 1m0s\n"), said)
	assert.Equal(t, 1, strings.Count(said, "note: Loki answers again\n"), said)
	assert.Contains(t, said, "goldtrail: no answer from Loki")
}
