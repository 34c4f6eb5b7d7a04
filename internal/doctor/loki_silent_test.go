package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

// coverageLoki holds the coverage records of a day and more, until 75 s before present:
// of's, by how old the window is.
func coverageLoki(t *testing.T, of func(age time.Duration) *flowlog.Coverage) *Loki {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/loki/api/v1/query_range", r.URL.Path)
		assert.Contains(t, r.URL.Query().Get("query"), flowlog.StreamCoverage)
		bound := func(name string) int64 {
			ns, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
			if err != nil {
				t.Error(err)
			}
			return ns / int64(time.Second)
		}
		var values []string
		from, to := bound("start"), min(bound("end"), present.Unix()-75)
		for start := (from + window - 1) / window * window; start < to; start += window {
			if kind := of(present.Sub(time.Unix(start, 0))); kind != nil {
				c := *kind // others may be asked at the same time
				c.Start, c.End = start, start+window
				record := plog.NewLogRecord()
				c.WriteTo(record)
				values = append(values, fmt.Sprintf(`["%d000000000",%q,{}]`, start, record.Body().Str()))
			}
		}
		_, err := fmt.Fprintf(w, `{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{},"values":[%s]}]}}`, strings.Join(values, ","))
		assert.NoError(t, err)
	}))
	t.Cleanup(s.Close)
	return &Loki{Client: &trail.Client{URL: s.URL, HTTP: s.Client(), Patience: -1}}
}

func TestSilentNodes(t *testing.T) {
	t.Parallel()
	well := &flowlog.Coverage{Status: flowlog.StatusComplete, Pairs: 100, OneSided: 2}
	cut := &flowlog.Coverage{Status: flowlog.StatusPartial, Cause: flowlog.CauseNodesSilent, Pairs: 100, OneSided: 30}
	// After a day the receiver says complete, and the counts stay.
	standing := &flowlog.Coverage{Status: flowlog.StatusComplete, Pairs: 100, OneSided: 30}
	for _, tt := range []struct {
		name string
		of   func(age time.Duration) *flowlog.Coverage
		want wanted
	}{
		{"all report", func(time.Duration) *flowlog.Coverage { return well }, wanted{OK, "2 % were reported by one end only", ""}},
		{"no pairs", func(time.Duration) *flowlog.Coverage { return &flowlog.Coverage{Status: flowlog.StatusComplete} }, wanted{OK, "no two workloads", ""}},
		{"two of five pairs are too few", func(time.Duration) *flowlog.Coverage {
			return &flowlog.Coverage{Status: flowlog.StatusComplete, Pairs: 5, OneSided: 2}
		}, wanted{OK, "40 %", ""}},
		{"no record", func(time.Duration) *flowlog.Coverage { return nil }, wanted{Skipped, "of no window", ""}},
		{"for 75 s", func(age time.Duration) *flowlog.Coverage {
			if age > 5*time.Minute && age <= 375*time.Second {
				return cut
			}
			return well
		}, wanted{Warning, "nodes were silent in 5 of", "7443/tcp"}},
		{"for half an hour", func(age time.Duration) *flowlog.Coverage {
			if age < 30*time.Minute {
				return cut
			}
			return well
		}, wanted{Warning, "less than an hour", "7443/tcp"}},
		{"for five hours", func(age time.Duration) *flowlog.Coverage {
			if age < 5*time.Hour+20*time.Minute {
				return cut
			}
			return well
		}, wanted{Warning, "30 % were reported by one end only; that is so since 2026-11-21T22:45:00Z", "calico-node"}},
		{"for two days", func(age time.Duration) *flowlog.Coverage {
			if age < 23*time.Hour {
				return standing
			}
			return cut
		}, wanted{Warning, "that is so since 2026-11-21T01:45:00Z or longer", "calico-node"}},
		{"and the Collector was down in between", func(age time.Duration) *flowlog.Coverage {
			if age > 100*time.Minute && age < 200*time.Minute {
				return nil
			}
			return cut
		}, wanted{Warning, "that is so since 2026-11-22T02:45:00Z", "calico-node"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &section{area: AreaTrail}
			coverageLoki(t, tt.of).silentNodes(t.Context(), s, "", present)
			requireCheck(t, s.checks, "silent nodes", tt.want)
			require.Len(t, s.checks, 1)
		})
	}
	s := &section{}
	standIn(t, lokiSays(map[string]said{"/loki/api/v1/query_range": {http.StatusBadRequest, "oh"}}), present).silentNodes(t.Context(), s, "", present)
	requireCheck(t, s.checks, "silent nodes", wanted{Failure, "oh", "log"})
}
