package goldmanereceiver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
)

// played is what a receiver made of a simulated cluster's traffic: exact repeats dropped, as
// readers do.
type played struct {
	// mu guards what follows.
	mu       sync.Mutex
	seen     map[string]bool
	sums     map[outcome]*flowlog.Sum // of the records that count
	coverage map[int64]flowlog.Coverage
	final    int64
	// spoil makes the next batch of flows arrive, and its sender not hear of it.
	spoil   bool
	spoiled chan struct{}
}

// outcome is a pair, as flow records name it, and what became of it.
type outcome struct{ pair, action string }

var errUnheard = errors.New("the connection broke")

func (p *played) consume(_ context.Context, logs plog.Logs) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	flows := false
	for _, lr := range records(logs) {
		line := lr.Body().Str()
		id := fmt.Sprint(lr.Timestamp(), line)
		if lr.EventName() == flowlog.EventCoverage {
			c, err := flowlog.ParseCoverage(line)
			if err != nil {
				return err
			}
			p.coverage[c.Start] = c
			if c.Final {
				p.final = max(p.final, c.End)
			}
		}
		if lr.EventName() != flowlog.EventName || p.seen[id] {
			continue
		}
		flows = true
		p.seen[id] = true
		f, err := flowlog.ParseLine(line)
		if err != nil {
			return err
		}
		if !f.Counts {
			continue
		}
		words := strings.Fields(line)
		o := outcome{strings.Join(words[2:6], " "), f.Action}
		if p.sums[o] == nil {
			p.sums[o] = &flowlog.Sum{}
		}
		p.sums[o].Add(&flowlog.Sum{Flows: 1, Counters: f.Counters})
	}
	if flows && p.spoil {
		p.spoil = false
		close(p.spoiled)
		return errUnheard
	}
	return nil
}

// play has a receiver read the traffic of a cluster, and be stopped in the middle of handing
// something on so many times. It begins so many windows after the traffic.
func play(t *testing.T, cfg traffic.Config, kills int, after int64, rng *rand.Rand) *played {
	t.Helper()
	p := &played{seen: map[string]bool{}, sums: map[outcome]*flowlog.Sum{}, coverage: map[int64]flowlog.Coverage{}}
	begin := cfg.Begin.Add(-5 * cfg.Window)
	// Two clocks, so that one waiting is the receiver.
	clock, ringClock := clockwork.NewFakeClockAt(begin), clockwork.NewFakeClockAt(begin)
	ring := sim.New(sim.Options{Clock: ringClock})
	t.Cleanup(ring.Stop)
	server := sim.NewServer(ring, nil)
	conf := createDefaultConfig().(*Config)
	conf.Endpoint, conf.TLS.Insecure = serve(t, server), true
	if after == 0 {
		conf.StartAt = StartAtNow
	}
	conf.Retry = RetryConfig{InitialInterval: time.Second, MaxInterval: time.Second}
	t.Cleanup(server.Stop)
	host := &rig{t: t}
	host.store(conf)
	next, err := consumer.NewLogs(p.consume)
	require.NoError(t, err)
	start := func() *goldmaneReceiver {
		set := receivertest.NewNopSettings(metadata.Type)
		set.ID = component.NewID(metadata.Type)
		receiver, err := newReceiver(set, conf, next)
		require.NoError(t, err)
		receiver.clock = clock
		require.NoError(t, receiver.Start(context.Background(), host))
		return receiver
	}
	var receiver *goldmaneReceiver
	crashed := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.spoiled != nil && isClosed(p.spoiled)
	}
	killAt := map[int64]bool{}
	for range kills {
		killAt[int64(rng.IntN(60*15))] = true
	}
	sent := traffic.New(cfg)
	for step := int64(0); ; step++ {
		now := clock.Now()
		for _, a := range sent.Arrivals(now, now.Add(time.Second)) {
			ring.Push(a.Flow)
		}
		p.mu.Lock()
		finished := p.final > cfg.End.Add(12*cfg.Window).Unix()
		if killAt[step] {
			p.spoil, p.spoiled = true, make(chan struct{})
		}
		p.mu.Unlock()
		if finished {
			break
		}
		if step == after*15 {
			receiver = start()
		}
		waits := func() {
			if receiver == nil {
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.NoError(t, clock.BlockUntilContext(ctx, 1), "the receiver should be waiting")
		}
		waits()
		if crashed() {
			require.NoError(t, receiver.Shutdown(context.Background()))
			p.mu.Lock()
			p.spoiled = nil
			p.mu.Unlock()
			receiver = start()
			waits()
		}
		ringClock.Advance(time.Second)
		clock.Advance(time.Second)
	}
	require.NoError(t, receiver.Shutdown(context.Background()))
	return p
}

// pairOf is a pair as flow records name it.
func pairOf(f *traffic.Flow) string {
	flow := flowlog.Flow{
		Source: endOf(f.SourceNamespace, f.SourceName, int32(f.SourceType)), Destination: endOf(f.DestNamespace, f.DestName, int32(f.DestType)),
		Transport: f.Proto,
	}
	flow.SetPort(f.Port)
	line, _ := flow.AppendLine(nil)
	return strings.Join(strings.Fields(string(line))[2:6], " ")
}

func endOf(namespace, name string, kind int32) flowlog.Endpoint {
	kinds := []string{1: flowlog.TypeWorkload, 2: flowlog.TypeHost, 3: flowlog.TypeNetworkSet, 4: flowlog.TypeNetwork}
	e := flowlog.Endpoint{Type: kinds[kind], Namespace: normal(namespace), Name: normal(name)}
	splitNetworkSet(&e)
	return e
}

// TestSumsAreWhatWasSent holds what the receiver makes of random clusters to what they sent,
// while nodes and the receiver have their troubles. The seeds are fixed, so that a failure is
// of the change that made it; GOLDTRAIL_CLUSTERS=25 takes as many others of each kind, and
// GOLDTRAIL_SEED one of them.
func TestSumsAreWhatWasSent(t *testing.T) {
	seeds := []uint64{1}
	if !testing.Short() {
		seeds = append(seeds, 2, 3, 4, 5, 6)
	}
	if n, err := strconv.Atoi(os.Getenv("GOLDTRAIL_CLUSTERS")); err == nil {
		seeds = nil
		for range n {
			seeds = append(seeds, rand.Uint64())
		}
	}
	if s := os.Getenv("GOLDTRAIL_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seeds = []uint64{seed}
	}
	for name, o := range map[string]traffic.Options{
		"phases and jitter":         {},
		"late flushes":              {Late: true},
		"a node is cut off":         {Cuts: true},
		"a node is silent":          {Silent: true, Pairs: 40},
		"policies are replaced":     {PolicySplits: true},
		"verdicts change":           {Phantoms: true, VerdictChanges: true},
		"Pods come and go":          {Replaced: true, ShortLived: true},
		"a flush misses connection": {Stragglers: true},
	} {
		for _, seed := range seeds {
			t.Run(fmt.Sprintf("%s/GOLDTRAIL_SEED=%d", name, seed), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(seed, 1))
				o := o
				o.Windows, o.Pairs = 40, max(o.Pairs, 20)
				cfg := traffic.Random(rng, o)
				got := play(t, cfg, 3, 0, rng)
				got.hold(t, cfg, &o)
				if o.Cuts {
					return // what a node sent again is counted twice already where it is read for the first time
				}
				got = play(t, cfg, 3, 1+rng.Int64N(100), rng) // and what is past is caught up with
				got.hold(t, cfg, &o)
			})
		}
	}
}

// hold holds what was played to what was sent.
func (p *played) hold(t *testing.T, cfg traffic.Config, o *traffic.Options) {
	t.Helper()
	byPair := map[string][]traffic.Truth{}
	for _, sent := range traffic.New(cfg).Truth(cfg.Begin, cfg.End) {
		pair := pairOf(&sent.Flow)
		byPair[pair] = append(byPair[pair], sent)
	}
	require.NotEmpty(t, byPair)
	for pair, all := range byPair {
		p.holdPair(t, pair, all, o)
	}
	for of := range p.sums {
		// A Pod that is gone when its flows are flushed may be the private network to the
		// destination's node.
		if !o.ShortLived || !strings.HasPrefix(of.pair, "private ") {
			assert.Contains(t, slices.Collect(maps.Keys(byPair)), of.pair, "nobody has sent it")
		}
	}
	silent := false
	for _, c := range p.coverage {
		silent = silent || c.Cause == flowlog.CauseNodesSilent
	}
	switch {
	case o.Silent && manySilent(cfg, byPair): // some sums are a lower bound, which the windows say
		assert.True(t, silent, "windows in which a node was silent are partial")
	case !o.Cuts && !o.Silent && !o.Late: // what comes two windows late is silence at first
		assert.False(t, silent, "no node was silent")
	}
}

// manySilent reports whether a node that is silent is the only one to report an end of a
// third of the pairs of workloads, whose other end other nodes report.
func manySilent(cfg traffic.Config, byPair map[string][]traffic.Truth) bool {
	silent := map[string]bool{}
	for i := range cfg.Nodes {
		silent[cfg.Nodes[i].Name] = len(cfg.Nodes[i].Silent) > 0
	}
	all, one := 0, 0
	for _, sent := range byPair {
		source, dest := sent[0].SourceNodes, sent[0].DestNodes
		if len(source) == 0 || len(dest) == 0 {
			continue
		}
		all++
		if len(source) == 1 && len(dest) == 1 && silent[source[0]] != silent[dest[0]] {
			one++
		}
	}
	return one >= 6 && one*3 > all
}

// holdPair holds the sums of one pair to what it sent, which is one truth for each verdict.
func (p *played) holdPair(t *testing.T, pair string, all []traffic.Truth, o *traffic.Options) {
	t.Helper()
	sum := func(action string) flowlog.Sum {
		if s := p.sums[outcome{pair, action}]; s != nil {
			return *s
		}
		return flowlog.Sum{}
	}
	sent := &all[0]
	if !slices.ContainsFunc(all, func(s traffic.Truth) bool { return s.Verdict == traffic.Allowed }) {
		assert.Zero(t, sum(flowlog.ActionAllow), "%s was always denied", pair)
	}
	if !sent.Silent && !sent.Uncertain {
		assert.Zero(t, sum(flowlog.ActionUnconfirmed), "%s: all nodes have reported", pair)
	}
	if len(all) > 1 {
		// Reports of the two ends that stand in windows on both sides of a change cannot be
		// told apart: a flush or two may be counted twice, or not at all.
		got, want := sum(flowlog.ActionAllow).ConnectionsStarted+sum(flowlog.ActionDeny).ConnectionsStarted, int64(0)
		for i := range all {
			want += all[i].Connections
		}
		assert.InDelta(t, want, got, 10+0.1*float64(want), "%s, whose verdict changed", pair)
		return
	}
	action := flowlog.ActionDeny
	if sent.Verdict == traffic.Allowed {
		action = flowlog.ActionAllow
	}
	got := sum(action)
	want := flowlog.Counters{
		SourcePackets: sent.Packets, SourceBytes: sent.Bytes, DestinationPackets: sent.BackPackets, DestinationBytes: sent.BackBytes,
		ConnectionsStarted: sent.Connections, ConnectionsCompleted: got.ConnectionsCompleted,
	}
	switch several := !sent.OneNodeAnEnd(); {
	case sent.Uncertain:
		// Felix itself does not see all of it.
	case sent.Silent:
		// The destination's reports make up for the source's, but for those within its reach.
		assert.LessOrEqual(t, got.ConnectionsStarted, sent.Connections, "%s is a lower bound", pair)
	case sent.Split && several:
		// Nodes that saw different sets of policies, and have counted the same by chance.
		assert.InEpsilon(t, sent.Connections, got.ConnectionsStarted, 0.3, pair)
	case (sent.Cut || o.Late) && several:
		// What one node sends late of a flow that another has sent as well is handed on only
		// where a flow comes late that no other has.
		assert.LessOrEqual(t, got.ConnectionsStarted, sent.Connections, pair)
		assert.InDelta(t, sent.Connections, got.ConnectionsStarted, 10+0.1*float64(sent.Connections), pair)
	default:
		assert.Equal(t, want, got.Counters, pair)
	}
}
