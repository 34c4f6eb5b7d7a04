//go:build e2e && unix

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

// The totals of every edge in a closed interval, and in each of its quarters, are the same
// from rollups as from records, both in a real Loki, with a SIGKILL of the Collector in the middle.
func TestEdges(t *testing.T) {
	t.Parallel() // most of it is waiting
	const interval = 60
	s := newStack(t)
	loki := startLoki(t, s)
	addr, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window, History: 40})
	require.NoError(t, err)
	cluster, storage := newCluster(), t.TempDir()
	// The first whole interval of which Goldmane has all.
	begin := time.Now().Unix() - 18
	begin += (interval - begin%interval) % interval
	run := func() *stack.Collector {
		c, err := s.Collector(t.Context(), stack.CollectorOptions{
			Config: examples + "local.yaml",
			Set: append(slices.Clone(fastWindows),
				"receivers.goldmane.recheck_delay=12s", "receivers.goldmane.storage=file_storage",
				"connectors.edges.interval=1m", "connectors.edges.known_edges.learn=0s", "connectors.edges.storage=file_storage",
				"exporters.otlp_http.sending_queue.storage=file_storage",
				"extensions.file_storage.create_directory=true", "extensions.file_storage.directory="+storage,
				"service.extensions=[file_storage, health_check]"),
			Env: map[string]string{"GOLDMANE_ENDPOINT": addr, "LOKI_URL": loki.URL, "K8S_CLUSTER_NAME": cluster},
		})
		require.NoError(t, err)
		return c
	}
	c := run()
	waitUntil(t, begin+25)
	require.NoError(t, syscall.Kill(c.Pid(), syscall.SIGKILL))
	<-c.Done()
	c = run()
	waitUntil(t, begin+interval)

	same := func(stream string, from, to int64) func(context.Context) error {
		return func(ctx context.Context) error {
			want, records, err := totals(ctx, loki, cluster, from, to)
			if err != nil {
				return err
			}
			got, err := rollups(ctx, loki, cluster, stream, from, to)
			if err != nil {
				return err
			}
			if len(got) != len(want) || len(got) == 0 {
				return fmt.Errorf("%s: rollups of %d edges, records of %d", stream, len(got), len(want))
			}
			windows := int64(0)
			for edge, sum := range want {
				r := got[edge]
				if !r.Final || r.Sum != sum {
					return fmt.Errorf("%s: %v: final %v, rollup %v, records %v", stream, edge, r.Final, r.Sum, sum)
				}
				windows = r.Complete
			}
			t.Logf("%s: %d records, %d edges, %d of %d windows complete", stream, records, len(got), windows, to-from)
			return nil
		}
	}
	requireSoon(t, same(flowlog.StreamEdges, begin, begin+interval))
	for from := begin; from < begin+interval; from += interval / 4 {
		requireSoon(t, same(flowlog.StreamEdgesQuarters, from, from+interval/4))
	}

	selector := trail.Selector(flowlog.StreamEdges, cluster)
	events, known := map[string]bool{}, map[flowlog.Edge]bool{}
	for e, err := range loki.Entries(t.Context(), selector, time.Unix(begin-60, 0), time.Unix(begin+2*interval, 0)) {
		require.NoError(t, err)
		for key := range e.Metadata {
			assert.Equal(t, "detected_level", key, "an edge record's line has it all")
		}
		if event, err := flowlog.ParseFirstSeen(e.Line); err == nil {
			events[e.Line], known[event.Edge] = true, true
		}
	}
	assert.NotEmpty(t, events)
	assert.Len(t, events, len(known), "an edge is new once")

	requireSoon(t, func(ctx context.Context) error {
		page, err := get(ctx, c.EdgesURL)
		if err == nil && !strings.Contains(page, `calico_edge_io_bytes_total{calico_flow_action="`) {
			err = fmt.Errorf("no bytes of edges in %.2000s", page)
		}
		return err
	})
}

// waitUntil waits until it is so many seconds after the epoch.
func waitUntil(t *testing.T, seconds int64) {
	t.Helper()
	select {
	case <-t.Context().Done():
		require.NoError(t, t.Context().Err())
	case <-time.After(time.Until(time.Unix(seconds, 0))):
	}
}

// totals adds up the records of [from, to) that count, by edge.
func totals(ctx context.Context, loki *trail.Client, cluster string, from, to int64) (map[flowlog.Edge]flowlog.Sum, int, error) {
	entries, err := read(ctx, loki, cluster, from, to)
	if err != nil {
		return nil, 0, err
	}
	sums := map[flowlog.Edge]flowlog.Sum{}
	for _, e := range entries {
		f, err := flowlog.ParseLine(e.Line)
		if err != nil {
			return nil, 0, err
		}
		if !f.Counts {
			continue
		}
		edge := flowlog.Edge{
			Source: e.Metadata[trail.Label(flowlog.SourceIdentity)], Destination: e.Metadata[trail.Label(flowlog.DestinationIdentity)],
			Port: f.Port, Transport: f.Transport, Action: f.Action,
		}
		s := sums[edge]
		s.Add(&flowlog.Sum{Flows: 1, Counters: f.Counters})
		sums[edge] = s
	}
	return sums, len(entries), nil
}

// rollups are the last of each edge in the interval [from, to).
func rollups(ctx context.Context, loki *trail.Client, cluster, stream string, from, to int64) (map[flowlog.Edge]flowlog.Rollup, error) {
	last := map[flowlog.Edge]flowlog.Rollup{}
	selector := trail.Selector(stream, cluster) + ` |= "v2 rollup "`
	for e, err := range loki.Entries(ctx, selector, time.Unix(from, 0), time.Unix(to, 0)) {
		if err != nil {
			return nil, err
		}
		r, err := flowlog.ParseRollup(e.Line)
		if err != nil {
			return nil, err
		}
		if r.Start != from || r.End != to {
			return nil, fmt.Errorf("at %s there is a rollup of another interval: %s", e.Time, e.Line)
		}
		if r.Sequence > last[r.Edge].Sequence {
			last[r.Edge] = r
		}
	}
	return last, nil
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}
