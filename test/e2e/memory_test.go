//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
	"github.com/goldtrail/goldtrail/test/stack"
)

const (
	mebibyte = 1 << 20
	// steadyFlows a second may cost steadyMemory beyond what the Collector has at its
	// start.
	steadyFlows, steadyWindows = 100, 10
	steadyMemory               = 64 * mebibyte
	largeFlows, largeWindows   = 10_000, 10
	// growth is what ten large windows may leave: a window takes some 30 MB while it is
	// handed on, and whether the garbage of the last is still there when the size is
	// read is chance. A leak of a fifth of each window would be more.
	growth = 40 * mebibyte
)

// The Collector's resident size, with all of its pipeline and an exporter whose server
// takes everything.
func TestMemory(t *testing.T) {
	g := sim.New(sim.Options{Window: window})
	t.Cleanup(g.Stop)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := sim.NewServer(g, nil)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	drain := newDrain(t)

	c, err := newStack(t).Collector(t.Context(), stack.CollectorOptions{
		Config: examples + "local.yaml",
		Set:    append(slices.Clone(fastWindows), "receivers.goldmane.recheck_delay=12s"),
		Env:    map[string]string{"GOLDMANE_ENDPOINT": listener.Addr().String(), "LOKI_URL": drain.url},
	})
	require.NoError(t, err)
	size := watchSize(t, c.Pid())
	startup := size.largest()
	// The windows that Goldmane has already are empty.
	now := time.Now().Unix()
	requireSoon(t, func(context.Context) error { return drain.knows(now - 20) })

	steady := feed(t, g, drain, steadyFlows, steadyWindows)
	steady(steadyWindows)
	beyond := size.largest() - startup
	t.Logf("%d MiB at the start, %d MiB more at %d flows/s", startup/mebibyte, beyond/mebibyte, steadyFlows)
	require.Less(t, beyond, int64(steadyMemory))

	large := feed(t, g, drain, largeFlows, largeWindows)
	size.largest()
	large(3)
	third := size.largest()
	large(largeWindows - 1)
	size.largest()
	large(largeWindows)
	last := size.largest()
	t.Logf("%d MiB with 3 windows of %d flows, %d MiB with the last of %d", third/mebibyte, largeFlows, last/mebibyte, largeWindows)
	require.Less(t, last-third, int64(growth))
}

// feed gives Goldmane so many flows in each of so many windows, one window after the
// other, and returns a function that waits until the records of the first n of them
// have arrived.
func feed(t *testing.T, g *sim.Goldmane, drain *drain, flows, windows int) (await func(n int)) {
	t.Helper()
	first := time.Now().Unix()
	given := cluster.New(1).Wide(first, window, flows)
	// All windows have the same flows, so that the two ends' reports always meet; a report of
	// the destination's that counts stays a record of its own.
	least, most, err := stack.Records(given, true)
	require.NoError(t, err)
	for i := range int64(windows) {
		timer := time.NewTimer(time.Until(time.Unix(first+i+1, 0)))
		select {
		case <-t.Context().Done():
		case <-timer.C:
		}
		for _, f := range given {
			f.StartTime, f.EndTime = first+i, first+i+1
			g.Push(f)
		}
	}
	return func(n int) {
		requireSoon(t, func(context.Context) error {
			for i := range int64(n) {
				if got := drain.records(first + i); got < least || got > most {
					return fmt.Errorf("window %d of %d flows: %d records, not %d to %d", i, flows, got, least, most)
				}
			}
			return nil
		})
	}
}

// drain is an OTLP server that takes all logs and counts them by second, which is a
// window here.
type drain struct {
	url string
	mu  sync.Mutex
	// flows and coverage are counts of records; mu guards them.
	flows, coverage map[int64]int
}

func newDrain(t *testing.T) *drain {
	t.Helper()
	d := &drain{flows: map[int64]int{}, coverage: map[int64]int{}}
	d.url = newOTLPServer(t, d.take)
	return d
}

func (d *drain) take(logs plog.Logs) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, rl := range logs.ResourceLogs().All() {
		counts := d.flows
		if name, _ := rl.Resource().Attributes().Get("service.name"); name.Str() != "goldmane-flows" {
			counts = d.coverage
		}
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				counts[lr.Timestamp().AsTime().Unix()]++
			}
		}
	}
}

func (d *drain) records(window int64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flows[window]
}

// knows returns nil when there is a coverage record of a window.
func (d *drain) knows(window int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.coverage[window] == 0 {
		return fmt.Errorf("there is no coverage record of %d", window)
	}
	return nil
}

// sizeWatch reads a process's resident size all the time.
type sizeWatch struct {
	pid int
	mu  sync.Mutex
	max int64 // guarded by mu
}

func watchSize(t *testing.T, pid int) *sizeWatch {
	t.Helper()
	s := &sizeWatch{pid: pid}
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				now, err := residentSize(pid)
				if err != nil {
					t.Error(err)
					return
				}
				s.mu.Lock()
				s.max = max(s.max, now)
				s.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() { close(stop); watching.Wait() })
	return s
}

// largest returns the largest size since the last call, in bytes.
func (s *sizeWatch) largest() int64 {
	now, err := residentSize(s.pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	largest := s.max
	if err == nil {
		largest = max(largest, now)
	}
	s.max = 0
	return largest
}

// residentSize reads VmRSS.
func residentSize(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kibibytes, _, found := strings.Cut(strings.TrimSpace(after), " kB")
	if !found {
		return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
	}
	n, err := strconv.ParseInt(kibibytes, 10, 64)
	return n << 10, err
}
