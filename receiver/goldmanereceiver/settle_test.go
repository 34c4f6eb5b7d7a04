package goldmanereceiver

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadatatest"
)

// on returns the lines of flows on a port, in order.
func (r *rig) on(p string) []string {
	var on []string
	for _, line := range r.bodies() {
		if strings.Contains(line, " "+p+"/tcp ") {
			on = append(on, line)
		}
	}
	return on
}

// requireOn holds that one record on a port has arrived, and how it begins and ends.
func (r *rig) requireOn(p, action, reporter string, marks string) {
	r.t.Helper()
	lines := r.on(p)
	require.Len(r.t, lines, 1, "port %s", p)
	words := strings.Fields(lines[0])
	assert.Equal(r.t, action, words[1], lines[0])
	assert.Equal(r.t, reporter, words[6], lines[0])
	assert.Equal(r.t, marks, strings.Join(words[11:], " "), lines[0])
}

// coverageAt are the coverage records of a window, the first and then the final one.
func (r *rig) coverageAt(start int64) []string {
	at := time.Unix(start, 0).UTC().Format(time.RFC3339)
	var settled, final []string
	for _, line := range r.coverage() {
		switch words := strings.Fields(line); {
		case words[1] != "window" || words[2] != at:
		case words[5] == "final":
			final = append(final, strings.Join(words[4:], " "))
		default:
			settled = append(settled, strings.Join(words[4:], " "))
		}
	}
	return append(settled, final...)
}

// runTo lets time pass until it is so long after a moment.
func (r *rig) runTo(start int64, after time.Duration) {
	r.run(time.Unix(start, 0).Add(after).Sub(r.clock.Now()))
}

func TestAWindowThatFailsKeepsOnlyWhatNeedsIt(t *testing.T) {
	const failing = windowStart + 60
	var broken atomic.Bool
	broken.Store(true)
	r := newRig(t, nil, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if req.(*goldmane.FlowListRequest).StartTimeGte == failing && broken.Load() {
			return nil, status.Error(codes.Internal, "broken")
		}
		return handler(ctx, req)
	})
	cfg := r.config()
	cfg.StartAt = StartAtNow
	r.start(cfg)
	r.runTo(failing, 17*time.Second)
	const before, after = failing - 15, failing + 15
	r.push(before, port(1))
	r.pushToPod(before, port(2))
	r.pushToPod(failing, port(2), atDestination)
	r.pushToPod(before, port(3))
	r.pushToPod(before, port(3), atDestination)
	r.pushToPod(failing, port(4))
	r.pushToPod(after, port(4), atDestination)
	r.pushToPod(after, port(5))
	r.pushToPod(after, port(5), atDestination, denied)

	r.runTo(failing, 76*time.Second)
	r.requireOn("1", "allow", "src", "")
	r.requireOn("3", "allow", "both", "")
	assert.Equal(t, []string{"complete settled cause - flows 4 records 2 late 0 merged 1 discarded 0 raised 0 withheld 1 pairs 0 one_sided 0"}, r.coverageAt(before))
	r.runTo(failing, 91*time.Second)
	r.requireOn("5", "deny", "both,allow/deny", "")
	assert.Len(t, r.bodies(), 3, "what needs the window that failed is withheld")

	r.runTo(failing, 436*time.Second)
	r.requireOn("2", "unconfirmed", "src", "late")
	r.requireOn("4", "allow", "dst", "late")
	for _, start := range []int64{before - 15, before, after, after + 15} {
		require.Len(t, r.coverageAt(start), 2)
		assert.True(t, strings.HasPrefix(r.coverageAt(start)[1], "complete final cause - "), r.coverageAt(start)[1])
	}
	assert.Empty(t, r.coverageAt(failing))

	broken.Store(false) // what it had arrives in the end, and knows its neighbours
	r.run(time.Minute)
	r.awaitRecords(7)
	assert.Len(t, r.on("2"), 2)
	assert.Contains(t, strings.Join(r.on("2"), "\n"), "v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 2/tcp dst ")
	assert.Contains(t, strings.Join(r.on("4"), "\n"), "v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 4/tcp src ")
	assert.Len(t, r.coverageAt(failing), 1)
}

// When an hour is caught up on, each window still waits for those within reach, whatever time
// it is.
func TestHistoryIsDecidedByTheWindowsAround(t *testing.T) {
	const start = windowStart - 15*100
	r := newRig(t, nil, nil)
	r.pushToPod(start, port(1))
	r.pushToPod(start+30, port(1), atDestination)
	r.pushToPod(start, port(2), atDestination)
	r.pushToPod(start+15, port(2))
	r.start(r.config())
	r.awaitRecords(4)
	words := func(p string) []string {
		var all []string
		for _, line := range r.on(p) {
			words := strings.Fields(line)
			all = append(all, strings.Join(append([]string{words[1], words[6]}, words[11:]...), " "))
		}
		return all
	}
	assert.Equal(t, []string{"allow dst uncounted", "allow src"}, words("1"))
	assert.Equal(t, []string{"allow dst uncounted", "allow src"}, words("2"))
	assert.Len(t, r.coverageAt(start), 1, "the first word is the final one")
}

// One call that fails while an hour is caught up on is no reason to decide without.
func TestOneFailureInHistoryChangesNothing(t *testing.T) {
	const start = windowStart - 15*100
	var failed atomic.Bool
	r := newRig(t, nil, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if req.(*goldmane.FlowListRequest).StartTimeGte == start+15 && failed.CompareAndSwap(false, true) {
			return nil, status.Error(codes.Internal, "broken")
		}
		return handler(ctx, req)
	})
	r.pushToPod(start, port(1))
	r.pushToPod(start+15, port(1), atDestination)
	r.start(r.config())
	r.pass(10*time.Millisecond, func() bool { return len(r.coverage()) >= ringWindows-5 }, "it should read the hour")
	r.awaitRecords(2)
	assert.Contains(t, r.on("1")[0], "v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 1/tcp dst ")
	assert.True(t, strings.HasSuffix(r.on("1")[0], " uncounted"))
	assert.Contains(t, r.on("1")[1], "v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 1/tcp src ")
	assert.NotContains(t, r.on("1")[1], " late")
	assert.Len(t, r.coverageAt(start), 1)
}

// So it is with the windows that could not be listed again in time.
func TestAfterAShortOutageWindowsAreConcludedByTheWindowsAround(t *testing.T) {
	r := newRig(t, nil, nil)
	cfg := r.config()
	cfg.StartAt = StartAtNow
	r.store(cfg)
	r.start(cfg)
	r.pushToPod(windowStart, port(1))
	r.runTo(windowStart, 80*time.Second)
	assert.Empty(t, r.bodies())
	r.stop()
	r.pushToPod(windowStart+30, port(1), atDestination) // late
	r.ringClock.Advance(10 * time.Minute)
	r.clock.Advance(10 * time.Minute)
	r.start(cfg)
	r.run(15 * time.Second)
	r.awaitRecords(2)
	lines := r.on("1")
	assert.Contains(t, lines[0], " dst ")
	assert.True(t, strings.HasSuffix(lines[0], " uncounted late"), lines[0])
	assert.True(t, strings.HasPrefix(lines[1], "v2 allow "), lines[1])
	assert.True(t, strings.HasSuffix(lines[1], " late"), lines[1])
	for _, start := range []int64{windowStart, windowStart + 15, windowStart + 30} {
		assert.Contains(t, r.coverageAt(start)[1], "complete final ")
	}
}

func TestTheFirstWindowOfTheTrail(t *testing.T) {
	r := newRig(t, nil, nil)
	cfg := r.config()
	cfg.StartAt = StartAtNow
	r.start(cfg)
	r.pushToPod(windowStart-15, port(2), atDestination)
	r.push(windowStart, port(1))
	r.pushToPod(windowStart, port(2))
	r.pushToPod(windowStart, port(3))
	r.pushToPod(windowStart, port(3), atDestination)
	r.runTo(windowStart, 76*time.Second)
	r.requireOn("1", "allow", "src", "")
	r.requireOn("3", "allow", "both", "")
	assert.Len(t, r.bodies(), 2, "nobody has seen the windows before")
	r.runTo(windowStart, 391*time.Second)
	r.requireOn("2", "unconfirmed", "src", "late")
	require.Len(t, r.coverageAt(windowStart), 2)
	assert.Equal(t, "complete final cause - flows 4 records 3 late 1 merged 1 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0", r.coverageAt(windowStart)[1])
}

func TestTheWindowsBesideAGap(t *testing.T) {
	r := newRig(t, nil, nil)
	cfg := r.config()
	r.store(cfg)
	last := windowStart - 45
	r.push(last, port(1))
	r.pushToPod(last, port(2))
	r.pushToPod(last, port(3))
	r.pushToPod(last, port(3), atDestination)
	r.start(cfg)
	r.advance(0)
	r.stop()
	assert.Empty(t, r.bodies())
	r.ringClock.Advance(2 * time.Hour)
	r.clock.Advance(2 * time.Hour)
	first := r.clock.Now().Unix()/15*15 - 15*ringWindows
	r.push(first, port(4))
	r.pushToPod(first, port(5))
	r.pushToPod(first, port(6), atDestination)
	r.start(cfg)
	r.run(15 * time.Second)
	r.awaitRecords(6)
	r.requireOn("1", "allow", "src", "")
	r.requireOn("2", "unconfirmed", "src", "")
	r.requireOn("3", "allow", "both", "")
	r.requireOn("4", "allow", "src", "")
	r.requireOn("5", "unconfirmed", "src", "")
	r.requireOn("6", "allow", "dst", "")
	assert.Equal(t, []string{"partial final cause not_rechecked flows 4 records 3 late 0 merged 1 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0"}, r.coverageAt(last))
	assert.Equal(t, []string{"complete final cause - flows 3 records 3 late 0 merged 0 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0"}, r.coverageAt(first))
}

// A node is cut off for five windows, and sends what it had before they are listed again.
func TestANodeThatWasCutOff(t *testing.T) {
	const windows, middle = 7, 3
	cut := func(i int64) bool { return i > 0 && i < windows-1 }
	start := func(i int64) int64 { return windowStart + 15*i }
	r := newRig(t, nil, nil)
	cfg := r.config()
	cfg.StartAt = StartAtNow
	r.start(cfg)
	for i := range int64(windows) {
		r.push(start(i), port(1)) // by Pods on both nodes
		r.pushToPod(start(i), port(2))
		if !cut(i) {
			r.pushToPod(start(i), port(2), atDestination)
		}
		r.run(15 * time.Second)
	}
	r.runTo(start(windows), 90*time.Second)
	for i := range int64(windows) {
		withheld := "0"
		if i == middle { // the others have a neighbour that the destination has reported in
			withheld = "1"
		}
		require.Len(t, r.coverageAt(start(i)), 1)
		assert.Contains(t, r.coverageAt(start(i))[0], " withheld "+withheld+" ")
	}
	for i := range int64(windows) {
		r.push(start(i), port(1), later60)
		if cut(i) {
			r.pushToPod(start(i), port(2), atDestination)
			r.push(start(i), port(3))
		}
	}
	r.pushToPod(start(middle), port(2), later60)
	r.runTo(start(windows), 420*time.Second)
	metadatatest.AssertEqualGoldmaneFlowsRaised(t, r.telemetry, sum(windows+1), ignore)

	type sums struct {
		counting, others int
		packets          int64
	}
	got := map[[2]int64]sums{}
	for _, logs := range r.sink.AllLogs() {
		for _, lr := range records(logs) {
			f, ok := flowOf(t, lr)
			if !ok {
				continue
			}
			key := [2]int64{(lr.Timestamp().AsTime().Unix() - windowStart) / 15, f.Port}
			s := got[key]
			if f.Counts {
				s.counting++
				s.packets += f.SourcePackets
			} else {
				s.others++
			}
			got[key] = s
		}
	}
	want := map[[2]int64]sums{}
	for i := range int64(windows) {
		want[[2]int64{i, 1}] = sums{counting: 1, packets: 10}
		want[[2]int64{i, 2}] = sums{counting: 1, packets: 10}
		if cut(i) {
			want[[2]int64{i, 1}] = sums{counting: 2, packets: 80} // the difference
			want[[2]int64{i, 2}] = sums{counting: 1, others: 1, packets: 10}
			want[[2]int64{i, 3}] = sums{counting: 1, packets: 10}
		}
	}
	want[[2]int64{middle, 2}] = sums{counting: 1, packets: 80} // as it was when it left, once
	assert.Equal(t, want, got)
	for i := range int64(windows) {
		require.Len(t, r.coverageAt(start(i)), 2)
		assert.Contains(t, r.coverageAt(start(i))[1], "complete final cause - ")
	}
}

// What is kept of a window and cannot be read is said, and stops nothing.
func TestDamageInTheStorage(t *testing.T) {
	const decided, kept = windowStart, windowStart + 45
	for part, test := range map[string]struct {
		window int64
		says   string
		want   []string
	}{
		// The answers of the neighbours know the pairs of a window as well.
		pairsPart: {kept, "Cannot read what is kept of a window", []string{
			"complete settled cause - flows 4 records 3 late 0 merged 0 discarded 0 raised 0 withheld 1 pairs 1 one_sided 1",
			"complete final cause - flows 4 records 4 late 1 merged 0 discarded 0 raised 0 withheld 0 pairs 1 one_sided 1",
		}},
		answerPart: {kept, "Cannot read what is kept of a window", []string{
			"complete settled cause - flows 4 records 3 late 0 merged 0 discarded 0 raised 0 withheld 1 pairs 1 one_sided 1",
			"complete final cause - flows 4 records 4 late 1 merged 0 discarded 0 raised 0 withheld 0 pairs 1 one_sided 1",
		}},
		ledgerPart: {decided, "Cannot read what was handed on of a window", []string{
			"complete settled cause - flows 4 records 3 late 0 merged 0 discarded 0 raised 0 withheld 1 pairs 0 one_sided 0",
			"partial final cause not_rechecked flows 4 records 4 late 1 merged 0 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0",
		}},
		restPart: {decided, "Cannot read what was kept of a window", []string{
			"complete settled cause - flows 4 records 3 late 0 merged 0 discarded 0 raised 0 withheld 1 pairs 0 one_sided 0",
			"partial final cause not_rechecked flows 4 records 3 late 0 merged 0 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0",
		}},
	} {
		t.Run(part, func(t *testing.T) {
			r := newRig(t, nil, nil)
			cfg := r.config()
			cfg.StartAt = StartAtNow
			memory := r.memorize(cfg, nil)
			r.start(cfg)
			for i := range int64(6) {
				start := windowStart + 15*i
				r.push(start, port(1))
				r.push(start, port(2))
				r.push(start, port(3))
				r.pushToPod(start, port(4))
				r.run(15 * time.Second)
			}
			r.runTo(windowStart, 95*time.Second)
			r.stop()
			key := partKey(part, test.window)
			require.Contains(t, memory.keys(), key)
			require.NoError(t, memory.Set(t.Context(), key, []byte("garbage")))
			r.start(cfg)
			r.runTo(windowStart, 500*time.Second)
			assert.True(t, r.logContains(test.says)())
			assert.Equal(t, test.want, r.coverageAt(test.window))
			for i := range int64(6) {
				start := windowStart + 15*i
				require.Len(t, r.coverageAt(start), 2)
				if start != test.window {
					assert.True(t, strings.HasPrefix(r.coverageAt(start)[1], "complete final cause - flows 4 records 4 late 1 "), r.coverageAt(start)[1])
				}
			}
		})
	}
	t.Run("nothing is kept of an empty answer", func(t *testing.T) {
		keep := &store{client: &memory{kept: map[string][]byte{}}, logger: zap.NewNop()}
		for flows, whole := range map[int64]bool{0: true, 1: false} {
			_, ok := keep.partsOf(t.Context(), &held{Start: windowStart, Known: flowlog.Coverage{Flows: flows}})
			assert.Equal(t, whole, ok)
		}
	})
	t.Run("state", func(t *testing.T) {
		r := newRig(t, nil, nil)
		cfg := r.config()
		r.memorize(cfg, map[string][]byte{stateKey: []byte("garbage")})
		r.push(windowStart-90, port(1))
		r.start(cfg)
		r.awaitRecords(1)
		assert.True(t, r.logContains("Cannot understand the stored cursor")())
	})
}

// Verdicts and sums are the same whether reports are merged or not.
func TestSumsDoNotDependOnMerging(t *testing.T) {
	type outcome struct{ connects, action string }
	sums := func(merge bool, seed uint64) (map[outcome]flowlog.Counters, map[string]int64) {
		all := append(rows(seed), row(port(1)), row(port(2), atDestination), // one side only
			row(port(3)), row(port(3), atDestination), row(port(3), atDestination, denied)) // two verdicts
		w, _ := assemble(t, merge, all...)
		sums, actions := map[outcome]flowlog.Counters{}, map[string]int64{}
		for _, r := range w.records {
			f := &w.flows[r.flow]
			if !f.Counts {
				continue
			}
			of := outcome{strings.Join(strings.Fields(r.line)[2:6], " "), f.Action}
			sum := sums[of]
			sum.Add(&f.Counters)
			sums[of] = sum
			actions[f.Action]++
		}
		return sums, actions
	}
	for seed := range uint64(5) {
		together, actions := sums(true, seed)
		apart, same := sums(false, seed)
		assert.Equal(t, apart, together)
		assert.Equal(t, same, actions)
		for _, action := range []string{flowlog.ActionAllow, flowlog.ActionDeny, flowlog.ActionUnconfirmed} {
			assert.Positive(t, actions[action], action)
		}
	}
}
