//go:build e2e

package queries

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/test/stack"
)

// loki holds the known trail. All tests of the package read it.
var (
	loki  string
	trail []record
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("LOKI_URL") != "" {
		fmt.Fprintln(os.Stderr, "skipped: LOKI_URL is set, and a known trail needs a Loki of its own, with limits of its own")
		return 0
	}
	dir, err := os.MkdirTemp("", "goldtrail-queries-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a folder that stays hurts nobody
	s := stack.New(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if loki, trail, err = load(ctx, s, dir); err != nil {
		fmt.Fprintln(os.Stderr, "load the known trail:", err)
		return 1
	}
	code := m.Run()
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// load starts a Loki and writes the known trail to it, for both clusters. Loki is started
// anew then: what is of another time than now is found in its chunks, not in its memory.
func load(ctx context.Context, s *stack.Stack, dir string) (string, []record, error) {
	options := stack.LokiOptions{Dir: filepath.Join(dir, "loki"), Args: []string{
		// The known trail has fixed times: of long ago, or of a time to come.
		"-validation.reject-old-samples=false", "-validation.create-grace-period=87600h",
		"-ingester.flush-on-shutdown=true",
	}}
	address, process, err := s.OwnLoki(ctx, options)
	if err != nil {
		return "", nil, err
	}
	records := seed()
	for _, c := range []string{cluster, otherCluster} {
		if err := push(ctx, address, c, records); err != nil {
			return "", nil, err
		}
	}
	if err := process.Stop(); err != nil {
		return "", nil, err
	}
	address, _, err = s.OwnLoki(ctx, options)
	return address, records, err
}

// push writes records as the Collector's otlp_http exporter does.
func push(ctx context.Context, address, name string, records []record) error {
	for len(records) > 0 {
		n := min(len(records), 2000)
		logs := plog.NewLogs()
		streams := map[string]plog.LogRecordSlice{}
		for _, r := range records[:n] {
			to, known := streams[r.stream]
			if !known {
				resource := logs.ResourceLogs().AppendEmpty()
				resource.Resource().Attributes().PutStr(flowlog.ServiceName, r.stream)
				resource.Resource().Attributes().PutStr(flowlog.ClusterName, name)
				to = resource.ScopeLogs().AppendEmpty().LogRecords()
				streams[r.stream] = to
			}
			lr := to.AppendEmpty()
			lr.SetTimestamp(pcommon.NewTimestampFromTime(r.time))
			lr.Body().SetStr(r.line)
			for k, v := range r.attributes {
				lr.Attributes().PutStr(k, v)
			}
		}
		body, err := plogotlp.NewExportRequestFromLogs(logs).MarshalProto()
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/otlp/v1/logs", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-protobuf")
		if _, err := do(req); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

func do(req *http.Request) ([]byte, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s: %.500s", req.URL.Path, resp.Status, body)
	}
	return body, err
}

// series is one series or stream of an answer.
type series struct {
	Metric map[string]string `json:"metric"`
	Stream map[string]string `json:"stream"`
	Value  [2]any            `json:"value"`  // of an instant query
	Values [][2]any          `json:"values"` // of a range query
}

// ask asks for query at the time at, or, with a step, over the span before it.
func ask(t *testing.T, query string, at int64, span, step time.Duration) (kind string, result []series) {
	t.Helper()
	return askLoki(t, loki, query, at, span, step)
}

func askLoki(t *testing.T, address, query string, at int64, span, step time.Duration) (kind string, result []series) {
	t.Helper()
	path, values := "/loki/api/v1/query", url.Values{"query": {query}, "time": {nanos(at)}}
	if step > 0 {
		path = "/loki/api/v1/query_range"
		values = url.Values{
			"query": {query}, "start": {nanos(at - int64(span/time.Second))}, "end": {nanos(at)},
			"step": {strconv.Itoa(int(step / time.Second))}, "limit": {"5000"}, "direction": {"backward"},
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+path+"?"+values.Encode(), http.NoBody)
	require.NoError(t, err)
	body, err := do(req)
	require.NoError(t, err, "%s", query)
	var answer struct {
		Data struct {
			ResultType string   `json:"resultType"`
			Result     []series `json:"result"`
		} `json:"data"`
	}
	require.NoError(t, json.Unmarshal(body, &answer), "%s", query)
	return answer.Data.ResultType, answer.Data.Result
}

func nanos(seconds int64) string { return strconv.FormatInt(seconds*int64(time.Second), 10) }

// points are an answer as a map from the labels, and the time of a range query, to the
// value.
type points map[string]float64

// pointsOf reads an answer of numbers.
func pointsOf(t *testing.T, result []series) points {
	t.Helper()
	p := points{}
	for _, s := range result {
		values, withTime := s.Values, true
		if values == nil {
			values, withTime = [][2]any{s.Value}, false
		}
		for _, v := range values {
			at := int64(0)
			if withTime {
				at = int64(v[0].(float64))
			}
			n, err := strconv.ParseFloat(v[1].(string), 64)
			require.NoError(t, err)
			p.add(at, s.Metric, n)
		}
	}
	return p
}

// add adds n to the point with those labels; at is 0 in the answer of an instant query.
func (p points) add(at int64, labels map[string]string, n float64) {
	key, err := json.Marshal(labels) // sorts the names
	if err != nil {
		panic(err) // strings cannot fail
	}
	text := string(key)
	if at != 0 {
		text = time.Unix(at, 0).UTC().Format(time.RFC3339) + " " + text
	}
	p[text] += n
}

// linesOf are the lines of an answer of entries, sorted as they come.
func linesOf(result []series) []string {
	var lines []string
	for _, s := range result {
		for _, v := range s.Values {
			lines = append(lines, strings.TrimSpace(v[1].(string)))
		}
	}
	return lines
}
