package goldmanereceiver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// flowOf is a flow record's flow; not ok for other records.
func flowOf(t *testing.T, lr plog.LogRecord) (f flowlog.Flow, ok bool) {
	t.Helper()
	if lr.EventName() != flowlog.EventName {
		return f, false
	}
	f, err := flowlog.ParseLine(lr.Body().Str())
	require.NoError(t, err)
	return f, true
}

// crashRun is five windows with a node cut off in two of them, read to the end, with a
// crash in between.
type crashRun struct {
	*rig
	memory *memory
	cfg    *Config
	// before is how many batches had been taken when it crashed.
	before int
	// broken is a window that Goldmane fails to list before the crash, -1 for none.
	broken  int64
	crashed atomic.Bool
}

const (
	crashWindows = 5
	crashRecheck = 90 * time.Second
)

// cutOff is true of the windows whose destination's reports come after the first listing.
func cutOff(window int64) bool { return window == 1 || window == 2 }

func newCrashRun(t *testing.T, broken int64) *crashRun {
	t.Helper()
	c := &crashRun{broken: broken}
	c.rig = newRig(t, nil, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if start := req.(*goldmane.FlowListRequest).StartTimeGte; start == windowStart+15*broken && broken >= 0 && !c.crashed.Load() {
			return nil, status.Error(codes.Internal, "broken")
		}
		return handler(ctx, req)
	})
	c.cfg = c.config()
	c.cfg.StartAt, c.cfg.RecheckDelay = StartAtNow, crashRecheck
	c.memory = c.memorize(c.cfg, nil)
	return c
}

// happens is what Goldmane hears of in the i-th window's time.
func (c *crashRun) happens(i int64) {
	if start := windowStart + 15*i; i < crashWindows {
		c.push(start, port(1))
		for _, p := range []int64{2, 3, 4} {
			c.pushToPod(start, port(p))
		}
		if !cutOff(i) {
			c.pushToPod(start, port(2), atDestination)
			c.pushToPod(start, port(4), atDestination, denied)
		}
	}
	const after = 4 // the first listing
	start := windowStart + 15*(i-after)
	switch late := i - after; {
	case cutOff(late):
		c.push(start, port(1), later60)
		c.push(start, port(6))
		c.pushToPod(start, port(2), atDestination)
		c.pushToPod(start, port(4), atDestination, denied)
	case late == 0:
		c.push(start, port(1), later60)
	}
}

// changes lets Goldmane hear of more in the windows up to the i-th: it would answer otherwise
// now.
func (c *crashRun) changes(i int64) {
	for i = min(i, crashWindows-1); i >= 0; i-- {
		start := windowStart + 15*i
		c.push(start, port(1), later60)
		c.pushToPod(start, port(3), atDestination)
		c.push(start, port(7))
	}
}

// run reads all windows to the end. It crashes after so many effects, if that is not 0.
func (c *crashRun) run(effects int) {
	c.memory.last = effects
	c.start(c.cfg)
	for i := range int64(crashWindows + 10) {
		c.happens(i)
		c.advance(15 * time.Second)
		c.advance(0)
		if c.memory.crashed() {
			c.stop()
			c.before = len(c.sink.AllLogs())
			c.memory.mend()
			c.crashed.Store(true)
			c.changes(i)
			c.start(c.cfg)
			c.advance(0)
		}
	}
	c.stop()
}

// exact is what makes two records one for whoever reads the trail.
type exact struct {
	line string
	at   time.Time
}

func exacts(batches []plog.Logs) []exact {
	var all []exact
	for _, logs := range batches {
		for _, lr := range records(logs) {
			all = append(all, exact{lr.Body().Str(), lr.Timestamp().AsTime()})
		}
	}
	return all
}

// window is the number of the window that a record is of.
func (e exact) window() int64 { return (e.at.Unix() - windowStart) / 15 }

// concludes reports whether a record is of a window's second step.
func (e exact) concludes() bool {
	return strings.HasSuffix(e.line, " late") || strings.Contains(e.line, " final cause ")
}

// A crash at any point repeats at most one step of one window, exactly, and nothing is lost;
// with a Goldmane that answers otherwise when it is asked again.
func TestACrashAtAnyPoint(t *testing.T) {
	whole := newCrashRun(t, -1)
	whole.run(0)
	effects := whole.memory.effects
	whole.check(t)
	for p, want := range map[int64][]int64{
		1: {10, 80, 80, 10, 10}, // what has grown is added only where a node was cut off
		2: {10, 10, 10, 10, 10},
		3: {10, 10, 10, 10, 10},
		4: {10, 10, 10, 10, 10},
		6: {0, 10, 10, 0, 0},
		7: {0, 0, 0, 0, 0},
	} {
		for window, packets := range want {
			assert.Equal(t, packets, whole.counted(t, int64(window), p), "port %d in window %d", p, window)
		}
	}
	crashAnywhere(t, -1, effects)
}

// A window that could not be listed and can after the crash: a step that was begun without
// it is taken again without it.
func TestACrashAtAnyPointBesideAWindowThatFailed(t *testing.T) {
	const broken = 3
	whole := newCrashRun(t, broken)
	whole.run(0)
	whole.check(t)
	crashAnywhere(t, broken, whole.memory.effects)
}

func crashAnywhere(t *testing.T, broken int64, effects int) {
	t.Helper()
	require.Greater(t, effects, 50)
	repeats := 0
	for n := 1; n < effects; n++ {
		ok := t.Run(fmt.Sprint("after ", n), func(t *testing.T) {
			c := newCrashRun(t, broken)
			c.run(n)
			c.check(t)
			if c.repeats(t) > 0 {
				repeats++
			}
		})
		if !ok {
			break // the others say the same
		}
	}
	assert.Positive(t, repeats, "some crash should repeat something")
}

// repeats holds what was handed on after the crash against what was before, and returns how
// many records are repeated.
func (c *crashRun) repeats(t *testing.T) int {
	t.Helper()
	all := c.sink.AllLogs()
	before := exacts(all[:c.before])
	var repeated []exact
	for _, e := range exacts(all[c.before:]) {
		if slices.Contains(before, e) {
			repeated = append(repeated, e)
		}
	}
	for _, e := range repeated {
		assert.Equal(t, repeated[0].window(), e.window(), "more than a window is repeated: %v", repeated)
		assert.Equal(t, repeated[0].concludes(), e.concludes(), "more than a step is repeated: %v", repeated)
	}
	return len(repeated)
}

// flows are the flow records, exact repeats dropped.
func (c *crashRun) flows(t *testing.T) map[exact]flowlog.Flow {
	t.Helper()
	flows := map[exact]flowlog.Flow{}
	for _, e := range exacts(c.sink.AllLogs()) {
		if !strings.Contains(e.line, " window ") {
			f, err := flowlog.ParseLine(e.line)
			require.NoError(t, err)
			flows[e] = f
		}
	}
	return flows
}

// counted is what the records of a window and port that count have of the source's packets.
func (c *crashRun) counted(t *testing.T, window, port int64) (packets int64) {
	t.Helper()
	for e, f := range c.flows(t) {
		if e.window() == window && f.Port == port && f.Counts {
			packets += f.SourcePackets
		}
	}
	return packets
}

// check holds that every report is in the trail once, with the outcome that it had.
func (c *crashRun) check(t *testing.T) {
	t.Helper()
	type report struct {
		window, port int64
		reporter     string
		late         bool
	}
	seen := map[report]string{}
	has := map[[2]int64]bool{}
	for e, f := range c.flows(t) {
		for _, reporter := range []string{flowlog.ReporterSource, flowlog.ReporterDestination} {
			if f.Reporter != reporter && f.Reporter != flowlog.ReporterBoth {
				continue
			}
			of := report{e.window(), f.Port, reporter, f.Late}
			assert.Empty(t, seen[of], "%+v is twice in the trail, also as %s", of, e.line)
			seen[of] = e.line
		}
		has[[2]int64{e.window(), f.Port}] = true
		switch {
		case f.Port == 4:
			assert.Equal(t, flowlog.ActionDeny, f.Action, e.line)
		case f.Port != 3:
			assert.Equal(t, flowlog.ActionAllow, f.Action, e.line)
		}
	}
	for window := range int64(crashWindows) {
		if window == c.broken {
			continue
		}
		for p := range int64(4) {
			assert.True(t, has[[2]int64{window, p + 1}], "port %d of window %d is not in the trail", p+1, window)
		}
		for _, p := range []int64{2, 3, 4} {
			assert.Equal(t, int64(10), c.counted(t, window, p), "port %d in window %d", p, window)
		}
		if cutOff(window) {
			assert.True(t, has[[2]int64{window, 6}], "what came late in window %d is not in the trail", window)
			for _, p := range []int64{2, 4} {
				source := seen[report{window, p, flowlog.ReporterSource, false}] + seen[report{window, p, flowlog.ReporterSource, true}]
				destination := seen[report{window, p, flowlog.ReporterDestination, true}]
				assert.NotEmpty(t, source, "port %d in window %d", p, window)
				assert.NotEmpty(t, destination, "port %d in window %d", p, window)
			}
		}
	}
	stages := map[string]int{}
	for e := range c.coverageOf() {
		fields := strings.Fields(e.line)
		assert.Equal(t, flowlog.StatusComplete, fields[4], e.line)
		stages[fields[2]+" "+fields[5]]++
	}
	for window := range int64(crashWindows) {
		if window == c.broken {
			continue
		}
		start := time.Unix(windowStart+15*window, 0).UTC().Format(time.RFC3339)
		assert.Equal(t, 1, stages[start+" settled"], start)
		assert.Equal(t, 1, stages[start+" final"], start)
	}
}

// coverageOf are the coverage records, exact repeats dropped.
func (c *crashRun) coverageOf() map[exact]bool {
	all := map[exact]bool{}
	for _, e := range exacts(c.sink.AllLogs()) {
		if strings.Contains(e.line, " window ") {
			all[e] = true
		}
	}
	return all
}

// The sink has taken a step's records and the receiver never hears of it, with a storage on
// disk: the very same leaves again, though Goldmane has heard of more.
func TestAfterACrashTheSameIsHandedOn(t *testing.T) {
	for _, concluded := range []bool{false, true} {
		name := "decided"
		if concluded {
			name = "concluded"
		}
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, nil)
			cfg := r.config()
			cfg.StartAt = StartAtNow
			r.store(cfg)
			r.start(cfg)
			r.push(windowStart, port(1))
			r.pushToPod(windowStart, port(2)) // withheld
			if concluded {
				r.run(6 * time.Minute)
				r.push(windowStart, port(3)) // late
				r.awaitRecords(1)
			}
			r.mu.Lock()
			r.deaf = true
			r.mu.Unlock()
			heard := len(r.bodies())
			require.Eventually(t, func() bool {
				if len(r.bodies()) > heard {
					return true
				}
				r.ringClock.Advance(time.Second)
				r.clock.Advance(time.Second)
				return false
			}, patience, time.Millisecond, "the step should be taken")
			first := r.bodies()
			require.NoError(t, r.receiver.Shutdown(context.Background()))
			r.mu.Lock()
			r.deaf = false
			r.mu.Unlock()

			r.push(windowStart, port(1), later60)
			r.pushToPod(windowStart, port(2), atDestination)
			r.push(windowStart, port(9))
			r.start(cfg)
			r.advance(0)
			again := r.bodies()
			for _, line := range first {
				n := 2
				if concluded && !strings.HasSuffix(line, " late") {
					n = 1
				}
				assert.Equal(t, n, strings.Count(strings.Join(again, "\n"), line), line)
			}
			assert.Len(t, slices.Compact(slices.Clone(again)), len(first), "and nothing else does")
		})
	}
}
