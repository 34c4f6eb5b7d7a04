package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/trail"
)

// asker asks one Loki.
type asker struct {
	url      string
	from, to time.Time
}

// maxLines is how many lines a question for lines may bring.
const maxLines = 5000

// ask returns a number that tells answers apart: the sum of the values of a metric
// query, or how many lines there are.
func (a *asker) ask(ctx context.Context, question string) (int, error) {
	question = a.fill(question)
	path, values := "query", url.Values{"query": {question}, "time": {nanos(a.to)}}
	if strings.HasPrefix(question, "{") {
		path = "query_range"
		values = url.Values{"query": {question}, "start": {nanos(a.from)}, "end": {nanos(a.to)}, "limit": {strconv.Itoa(maxLines)}}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/loki/api/v1/"+path+"?"+values.Encode(), http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: Loki answers %s: %s", question, resp.Status, body)
	}
	n, err := count(body)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s: Loki finds nothing", question)
	}
	return n, err
}

// fill puts the stream and the range into a question.
func (a *asker) fill(question string) string {
	return strings.NewReplacer("SEL", trail.Flows("bench"), "RANGE", fmt.Sprint(a.to.Sub(a.from).Seconds(), "s")).Replace(question)
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// count adds up the values of a vector, or counts the lines of streams.
func count(body []byte) (int, error) {
	var answer struct {
		Data struct {
			ResultType string
			Result     []struct {
				Value  []any             // time, value
				Values []json.RawMessage // lines
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("the answer of Loki: %w", err)
	}
	n := 0
	for _, r := range answer.Data.Result {
		n += len(r.Values)
		if answer.Data.ResultType != "vector" || len(r.Value) != 2 {
			continue
		}
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return 0, fmt.Errorf("the answer of Loki: %w", err)
		}
		n += int(value)
	}
	return n, nil
}
