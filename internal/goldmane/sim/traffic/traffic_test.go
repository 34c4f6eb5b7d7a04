package traffic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

const window = 15 * time.Second

var begin = time.Unix(1_700_000_010, 0) // a multiple of 15

// everything turns every option on.
func everything() Options {
	return Options{
		Windows: 60, Pairs: 40, Late: true, Cuts: true, Silent: true, Slow: true, Stragglers: true, VerdictChanges: true,
		Phantoms: true, PolicySplits: true, ShortLived: true, Replaced: true,
	}
}

// all is everything that a cluster's nodes ever send, and the truth of it.
func all(c Config) ([]Arrival, []Truth) {
	t := New(c)
	return t.Arrivals(c.Begin.Add(-time.Hour), c.End.Add(time.Hour)), t.Truth(c.Begin, c.End)
}

// reported are sums of what one end's nodes said of a pair.
type reported struct {
	connections, packets, bytes, backPackets, backBytes int64
}

type report struct {
	flow     Flow
	reporter goldmane.Reporter
	action   goldmane.Action
}

func flowOf(k *goldmane.FlowKey) Flow {
	return Flow{
		k.SourceNamespace, k.SourceName, k.SourceType,
		k.DestNamespace, k.DestName, k.DestType, k.DestPort, k.Proto,
	}
}

func add(sums map[report]reported, f *goldmane.Flow) {
	of := report{flowOf(f.Key), f.Key.Reporter, f.Key.Action}
	s := sums[of]
	s.connections += f.NumConnectionsStarted
	if f.Key.Reporter == goldmane.Reporter_Src {
		s.packets, s.bytes = s.packets+f.PacketsOut, s.bytes+f.BytesOut
		s.backPackets, s.backBytes = s.backPackets+f.PacketsIn, s.backBytes+f.BytesIn
	} else {
		s.packets, s.bytes = s.packets+f.PacketsIn, s.bytes+f.BytesIn
		s.backPackets, s.backBytes = s.backPackets+f.PacketsOut, s.backBytes+f.BytesOut
	}
	sums[of] = s
}

// expected is what each end's reports must add up to.
func expected(truth []Truth) map[report]reported {
	want := make(map[report]reported)
	count := func(t *Truth, r goldmane.Reporter, a goldmane.Action) {
		of := report{t.Flow, r, a}
		s := want[of]
		s.connections += t.Connections
		s.packets, s.bytes = s.packets+t.Packets, s.bytes+t.Bytes
		s.backPackets, s.backBytes = s.backPackets+t.BackPackets, s.backBytes+t.BackBytes
		want[of] = s
	}
	for _, t := range truth {
		if len(t.SourceNodes) > 0 {
			action := goldmane.Action_Allow
			if t.Verdict == DeniedAtSource {
				action = goldmane.Action_Deny
			}
			count(&t, goldmane.Reporter_Src, action)
		}
		if len(t.DestNodes) > 0 && t.Verdict != DeniedAtSource {
			action := goldmane.Action_Allow
			if t.Verdict == DeniedAtDestination {
				action = goldmane.Action_Deny
			}
			count(&t, goldmane.Reporter_Dst, action)
		}
	}
	return want
}

// What the source's nodes reported is what the destination's did, and what was sent.
func TestTrafficIsConserved(t *testing.T) {
	o := everything()
	// These are what makes reports differ from the truth.
	o.Cuts, o.Silent, o.PolicySplits, o.ShortLived, o.Phantoms = false, false, false, false, false
	pairs, kinds := 0, make(map[Verdict]int)
	for seed := range uint64(40) {
		arrivals, truth := all(Random(rand.New(rand.NewPCG(seed, 1)), o))
		got := make(map[report]reported)
		for _, a := range arrivals {
			add(got, a.Flow)
		}
		require.Equal(t, expected(truth), got)
		pairs += len(truth)
		for _, tr := range truth {
			kinds[tr.Verdict]++
			require.True(t, tr.Exact())
		}
	}
	require.Greater(t, pairs, 1000)
	for v := range verdicts {
		require.Greater(t, kinds[v], 40, v.String())
	}
}

// With everything that goes wrong, those pairs add up that the truth calls exact.
func TestExactIsWhatAddsUp(t *testing.T) {
	exact, others := 0, 0
	for seed := range uint64(40) {
		o := everything()
		o.Phantoms = false
		o.Silent, o.Cuts = seed%4 == 0, seed%4 == 1
		arrivals, truth := all(Random(rand.New(rand.NewPCG(seed, 2)), o))
		got := make(map[report]reported)
		for _, a := range arrivals {
			add(got, a.Flow)
		}
		for i := range truth {
			if !truth[i].Exact() {
				others++
				continue
			}
			exact++
			for of, want := range expected(truth[i : i+1]) {
				if of.reporter == goldmane.Reporter_Src && of.action == goldmane.Action_Allow {
					// Two verdicts of one pair are one thing to the source.
					want = reported{}
					for _, tr := range truth {
						if tr.Flow == of.flow {
							for o, r := range expected([]Truth{tr}) {
								if o == of {
									want = sum(want, r)
								}
							}
						}
					}
				}
				require.Equal(t, want, got[of], "%v", of)
			}
		}
	}
	require.Greater(t, exact, 300)
	require.Greater(t, others, 300)
}

func sum(a, b reported) reported {
	return reported{
		a.connections + b.connections, a.packets + b.packets, a.bytes + b.bytes,
		a.backPackets + b.backPackets, a.backBytes + b.backBytes,
	}
}

func requireSame(t *testing.T, want, got []Arrival) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].At, got[i].At)
		require.Equal(t, want[i].Node, got[i].Node)
		if !proto.Equal(want[i].Flow, got[i].Flow) {
			t.Fatalf("arrival %d at %s: want %v\ngot %v", i, want[i].At, want[i].Flow, got[i].Flow)
		}
	}
}

func TestPiecesAreTheWhole(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 3))
		c := Random(rng, everything())
		end := c.End.Add(40 * window)
		whole := New(c).Arrivals(c.Begin, end)
		require.True(t, slices.IsSortedFunc(whole, func(a, b Arrival) int { return a.At.Compare(b.At) }))
		var pieces []Arrival
		again := New(c)
		for at := c.Begin; at.Before(end); {
			next := at.Add(time.Duration(rng.Int64N(int64(4 * window))))
			if next.After(end) {
				next = end
			}
			pieces = append(pieces, again.Arrivals(at, next)...)
			at = next
		}
		requireSame(t, whole, pieces)
	}
}

func TestTruthOfPiecesAddsUp(t *testing.T) {
	c := Random(rand.New(rand.NewPCG(1, 4)), everything())
	tr := New(c)
	sums := func(ts ...[]Truth) map[string]reported {
		m := make(map[string]reported)
		for _, t := range slices.Concat(ts...) {
			id := fmt.Sprint(t.Flow, t.Verdict)
			m[id] = sum(m[id], reported{t.Connections, t.Packets, t.Bytes, t.BackPackets, t.BackBytes})
		}
		return m
	}
	middle := c.Begin.Add(20*window + 7*time.Second)
	require.Equal(t, sums(tr.Truth(c.Begin, c.End)), sums(tr.Truth(c.Begin, middle), tr.Truth(middle, c.End)))
}

// Felix adds up what has one key, so that a node's flush has it once.
func TestAFlushHasAKeyOnce(t *testing.T) {
	for seed := range uint64(10) {
		c := Random(rand.New(rand.NewPCG(seed, 5)), everything())
		arrivals, _ := all(c)
		seen := make(map[string]bool)
		for _, a := range arrivals {
			key, err := proto.MarshalOptions{Deterministic: true}.Marshal(a.Flow.Key)
			require.NoError(t, err)
			id := fmt.Sprint(a.Node, a.At.UnixNano(), a.Flow.StartTime, string(key))
			require.False(t, seen[id], "%s sends twice %v", a.Node, a.Flow.Key)
			seen[id] = true
		}
	}
}

func TestNodesKeepFelixsTime(t *testing.T) {
	for seed := range uint64(5) {
		for _, interval := range []float64{1, 20} {
			n := newNode(Node{Name: "n", Phase: 0.3, Interval: interval}, seed, window)
			first := n.from(begin.UnixNano())
			for j := first; j < first+5000; j++ {
				took := float64(n.at(j)-n.at(j-1)) / n.interval
				if took < 1 || took > 1.1 {
					t.Fatalf("a flush took %f intervals", took)
				}
				require.Equal(t, j, n.from(n.at(j)))
				require.Equal(t, j+1, n.from(n.at(j)+1))
			}
		}
	}
}

// A property test makes many of these.
func BenchmarkRandom(b *testing.B) {
	c := Random(rand.New(rand.NewPCG(1, 1)), Options{Windows: 60, Pairs: 40, Nodes: 4})
	b.ReportAllocs()
	for b.Loop() {
		t := New(c)
		t.Arrivals(c.Begin, c.End.Add(3*window))
		t.Truth(c.Begin, c.End)
	}
}
