package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

// service is what the questions are about; edgesOf has some edges of it.
const service = "team-050"

// ask prints how long each question takes.
func ask(ctx context.Context, o *options) error {
	program := os.Getenv("GOLDTRAIL_BIN")
	if program == "" {
		return errors.New("GOLDTRAIL_BIN is not set: run this through `make bench-trail`, which builds the command")
	}
	for _, q := range []struct{ args, aim string }{
		{"edges --since 90d --dst " + service, "2 s"},
		{"edges --since 24h", "5 s"},
		{"peers " + service + " --since 7d", "2 s"},
		{"edges --new-since 24h", ""},
		{"coverage --since 90d", ""},
	} {
		var times []string
		var answer struct{ Read trail.Read }
		for range o.run {
			args := append(strings.Fields(q.args), "--addr", o.url, "--cluster", o.cluster, "--output", "json")
			cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the Makefile names it
			cmd.Stderr = os.Stderr
			begin := time.Now()
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("goldtrail %s: %w", q.args, err)
			}
			times = append(times, seconds(begin))
			if err := json.Unmarshal(out, &answer); err != nil {
				return fmt.Errorf("goldtrail %s: %w", q.args, err)
			}
		}
		fmt.Printf("goldtrail %-32s %s", q.args, strings.Join(times, "  "))
		if r := answer.Read; r != (trail.Read{}) {
			fmt.Printf("   from %d days, %d hours, %d quarters, %d flow records of %s", r.Days, r.Hours, r.Quarters, r.Records, time.Duration(r.RawSeconds)*time.Second)
		}
		if q.aim != "" {
			fmt.Printf("   (at most %s is aimed at)", q.aim)
		}
		fmt.Println()
	}
	return plain(ctx, o)
}

// plain asks Loki itself, over the flow records, as one would without the command.
func plain(ctx context.Context, o *options) error {
	flows := trail.Selector(flowlog.StreamFlows, o.cluster)
	source, destination := trail.Label(flowlog.SourceIdentity), trail.Label(flowlog.DestinationIdentity)
	for _, query := range []string{
		fmt.Sprintf("sum by (%s, %s) (count_over_time(%s[24h]))", source, destination, flows),
		fmt.Sprintf("sum by (%s) (count_over_time(%s | %s=%q [24h]))", source, flows, destination, service),
	} {
		begin := time.Now()
		answer, err := get(ctx, o.url+"/loki/api/v1/query?"+url.Values{"query": {query}, "time": {strconv.FormatInt(time.Now().UnixNano(), 10)}}.Encode())
		if err != nil {
			answer = err.Error()
		} else {
			answer = fmt.Sprintf("%d bytes", len(answer))
		}
		fmt.Printf("%s\n  %s: %.120s\n", query, seconds(begin), answer)
	}
	return nil
}

func seconds(begin time.Time) string { return fmt.Sprintf("%.2f s", time.Since(begin).Seconds()) }

// flush makes Loki store what it holds in memory, as it has after some hours, and waits
// until it has: the first question is else asked beside that work.
func flush(ctx context.Context, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/flush", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		metrics, err := get(ctx, base+"/metrics")
		if err == nil && !strings.Contains(metrics, "\nloki_ingester_memory_chunks 0\n") {
			err = errors.New("not all chunks are stored yet")
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(5*time.Minute))
	return err
}

func get(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}
