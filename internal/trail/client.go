package trail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// defaultPageSize is Loki's default of max_entries_limit_per_query.
const defaultPageSize = 5000

// Client reads from one Loki. It is safe for concurrent use.
type Client struct {
	// URL is Loki's base: http://127.0.0.1:3100
	URL string
	// HTTP is http.DefaultClient if nil. The context of a call bounds its time.
	HTTP *http.Client
	// PageSize is the number of entries per query, Loki's default limit of 5000 if 0.
	PageSize int
}

// Entry is one entry of a Loki stream.
type Entry struct {
	Time     time.Time
	Stream   map[string]string // index labels
	Line     string
	Metadata map[string]string // structured metadata, dots of the keys as underscores
}

// Flow is the flow of a flow record. It fails, wrapping flowlog.ErrNotALine, for an entry
// that is none.
func (e *Entry) Flow() (flowlog.Flow, error) {
	f, err := flowlog.ParseLine(e.Line)
	if err == nil {
		err = f.ParseAttributes(func(attribute string) string { return e.Metadata[Label(attribute)] })
	}
	return f, err
}

// Flows is the LogQL selector of the flow records of a cluster, or of all clusters if
// cluster is "".
func Flows(cluster string) string {
	selector := "{" + Label(flowlog.ServiceName) + "=" + strconv.Quote(flowlog.StreamFlows)
	if cluster != "" {
		selector += ", " + Label(flowlog.ClusterName) + "=" + strconv.Quote(cluster)
	}
	return selector + "}"
}

// Label is the name that Loki gives to an OpenTelemetry attribute.
func Label(attribute string) string { return strings.ReplaceAll(attribute, ".", "_") }

// StatusError is returned, wrapped, when Loki answers with another status than 200.
type StatusError struct {
	Status int
	Body   string // the beginning of what Loki says about it
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("Loki answers %d %s: %s", e.Status, http.StatusText(e.Status), e.Body)
}

// queryRange returns the first limit entries in [from, to), sorted by time.
func (c *Client) queryRange(ctx context.Context, selector string, from, to time.Time, limit int) ([]Entry, error) {
	query := url.Values{
		"query":     {selector},
		"start":     {strconv.FormatInt(from.UnixNano(), 10)},
		"end":       {strconv.FormatInt(to.UnixNano(), 10)},
		"limit":     {strconv.Itoa(limit)},
		"direction": {"forward"},
	}
	address := strings.TrimSuffix(c.URL, "/") + "/loki/api/v1/query_range?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("query Loki: %w", err)
	}
	// Without it Loki mixes index labels and structured metadata.
	req.Header.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")

	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("query Loki: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
		if err != nil {
			return nil, fmt.Errorf("query Loki: status %d: %w", resp.StatusCode, err)
		}
		return nil, fmt.Errorf("query %s: %w", selector, &StatusError{resp.StatusCode, strings.TrimSpace(string(body))})
	}
	entries, err := decode(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("query %s: Loki's answer: %w", selector, err)
	}
	return entries, nil
}

// answer is Loki's answer to query_range.
type answer struct {
	Data struct {
		ResultType    string   `json:"resultType"`
		EncodingFlags []string `json:"encodingFlags"`
		Result        []struct {
			Stream map[string]string `json:"stream"`
			Values []value           `json:"values"`
		} `json:"result"`
	} `json:"data"`
}

// value is [time, line, {"structuredMetadata": {...}}].
type value struct {
	Time     time.Time
	Line     string
	Metadata map[string]string
}

func (v *value) UnmarshalJSON(b []byte) error {
	var nanos string
	var labels struct {
		StructuredMetadata map[string]string `json:"structuredMetadata"`
	}
	parts := []any{&nanos, &v.Line, &labels}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	n, err := strconv.ParseInt(nanos, 10, 64)
	if err != nil {
		return fmt.Errorf("time of an entry: %w", err)
	}
	v.Time, v.Metadata = time.Unix(0, n), labels.StructuredMetadata
	return nil
}

// shardLabel is what Loki adds to a stream that it has split because of its rate. It
// says nothing about the record, and a repeat may stand in another shard.
const shardLabel = "__stream_shard__"

// decode returns the entries of all streams in an answer, sorted by time.
func decode(r io.Reader) ([]Entry, error) {
	var a answer
	if err := json.NewDecoder(r).Decode(&a); err != nil {
		return nil, err
	}
	if a.Data.ResultType != "streams" {
		return nil, fmt.Errorf("result type %q instead of streams", a.Data.ResultType)
	}
	if len(a.Data.Result) > 0 && !slices.Contains(a.Data.EncodingFlags, "categorize-labels") {
		return nil, errors.New("it does not tell structured metadata from labels: Loki 3.0 or newer is needed, and what stands before it must pass the header X-Loki-Response-Encoding-Flags on")
	}
	var entries []Entry
	for _, stream := range a.Data.Result {
		delete(stream.Stream, shardLabel)
		for _, v := range stream.Values {
			entries = append(entries, Entry{Time: v.Time, Stream: stream.Stream, Line: v.Line, Metadata: v.Metadata})
		}
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	return entries, nil
}
