//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

const (
	examples = "../../examples/"

	// window is as short as Goldmane's can be. settle gives the simulator, on a busy
	// machine, six windows more than the 32/15 that the nodes' timing asks for.
	window = time.Second
	settle = 8 * time.Second

	// reach is how many windows after a window the receiver waits for to decide it.
	reach = 2

	// patience bounds every wait for something that takes a second or two.
	patience = time.Minute
	pollTick = 100 * time.Millisecond
)

// fastWindows makes the receiver read windows as the tests' simulator has them.
var fastWindows = []string{
	"receivers.goldmane.window=" + window.String(),
	"receivers.goldmane.flush_interval=" + window.String(),
	"receivers.goldmane.settle_delay=" + settle.String(),
	// A Goldmane that is late is found soon.
	"receivers.goldmane.retry.initial_interval=100ms",
	"receivers.goldmane.retry.max_interval=500ms",
}

// newStack returns a stack that ends with the test. Every process must end cleanly.
func newStack(t *testing.T) *stack.Stack {
	t.Helper()
	s := stack.New(t.TempDir())
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

func startLoki(t *testing.T, s *stack.Stack) *trail.Client {
	t.Helper()
	url, err := s.Loki(t.Context())
	require.NoError(t, err)
	return &trail.Client{URL: url}
}

var clusters atomic.Int64

// newCluster is a name for k8s.cluster.name that no other test has, also where LOKI_URL
// keeps what earlier runs wrote.
func newCluster() string {
	return fmt.Sprintf("e2e-%d-%d", time.Now().Unix(), clusters.Add(1))
}

// read returns the records of a cluster that started in [start, end).
func read(ctx context.Context, loki *trail.Client, cluster string, start, end int64) ([]trail.Entry, error) {
	var entries []trail.Entry
	for e, err := range loki.Entries(ctx, trail.Flows(cluster), time.Unix(start, 0), time.Unix(end, 0)) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// requireSoon waits until condition returns nil, and fails with its last error when it
// does not within patience.
func requireSoon(t *testing.T, condition func(context.Context) error) {
	t.Helper()
	requireWithin(t, patience, condition)
}

// requireWithin is requireSoon for what may take longer.
func requireWithin(t *testing.T, limit time.Duration, condition func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(pollTick)
	defer tick.Stop()
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil {
			last = err // and not that time is over
		}
		select {
		case <-ctx.Done():
			require.NoError(t, last, "still so after %s", limit)
		case <-tick.C:
		}
	}
}

// requireFlows waits until any record of the cluster is in Loki.
func requireFlows(t *testing.T, loki *trail.Client, cluster string) {
	t.Helper()
	requireSoon(t, func(ctx context.Context) error {
		now := time.Now().Unix()
		entries, err := read(ctx, loki, cluster, now-600, now)
		if err == nil && len(entries) == 0 {
			err = fmt.Errorf("no records of %s in Loki", cluster)
		}
		return err
	})
}

// requireLogged waits until a process has written each of the texts.
func requireLogged(t *testing.T, p *stack.Process, texts ...string) {
	t.Helper()
	requireSoon(t, logged(p, texts...))
}

// logged is the condition that a process has written each of the texts.
func logged(p *stack.Process, texts ...string) func(context.Context) error {
	return func(context.Context) error {
		log, err := p.Log()
		if err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(log, text) {
				return fmt.Errorf("%s has not logged %q but:\n%s", p.Name, text, log)
			}
		}
		return nil
	}
}
