package traffic

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// here and there are workloads of one Pod, on the first and the second node of two.
var (
	here  = End{Type: goldmane.EndpointType_WorkloadEndpoint, Namespace: "shop", Name: "web-*", Pods: []Pod{{Node: 0, Labels: []string{"app=web"}}}}
	there = End{Type: goldmane.EndpointType_WorkloadEndpoint, Namespace: "db", Name: "pg-*", Pods: []Pod{{Node: 1, Labels: []string{"app=pg"}}}}
	away  = End{Type: goldmane.EndpointType_Network, Name: "pub"}
)

const lasting = 60 // windows

// after is the moment n windows after the beginning.
func after(n float64) time.Time { return begin.Add(time.Duration(n * float64(window))) }

// one is a pair in a cluster of two nodes, for an hour's quarter.
func one(p Pair) Config {
	if p.Connections == 0 {
		p.Load = Load{Share: 1, Connections: 5, Bytes: 1000}
	}
	p.Port, p.Proto, p.Trace = 5432, "tcp", plain("db")
	return Config{
		Seed: 1, Window: window, Begin: begin, End: after(lasting), Pairs: []Pair{p},
		Nodes: []Node{{Name: "one", Phase: 0.2}, {Name: "two", Phase: 0.7}},
	}
}

func sums(arrivals []Arrival) map[report]reported {
	m := make(map[report]reported)
	for _, a := range arrivals {
		add(m, a.Flow)
	}
	return m
}

func kinds(arrivals []Arrival) map[string]int {
	m := make(map[string]int)
	for _, a := range arrivals {
		m[a.Flow.Key.Reporter.String()+"/"+a.Flow.Key.Action.String()]++
	}
	return m
}

func TestWhoReportsWhat(t *testing.T) {
	for _, c := range []struct {
		what     string
		src, dst End
		verdict  Verdict
		want     []string
	}{
		{"allowed", here, there, Allowed, []string{"Src/Allow", "Dst/Allow"}},
		{"a source's Allow is no verdict", here, there, DeniedAtDestination, []string{"Src/Allow", "Dst/Deny"}},
		{"what is not let out nobody else sees", here, there, DeniedAtSource, []string{"Src/Deny"}},
		{"to the outside", here, away, Allowed, []string{"Src/Allow"}},
		{"to the outside, denied", here, away, DeniedAtSource, []string{"Src/Deny"}},
		{"from the outside", away, there, Allowed, []string{"Dst/Allow"}},
		{"from the outside, denied", away, there, DeniedAtDestination, []string{"Dst/Deny"}},
	} {
		arrivals, truth := all(one(Pair{Source: c.src, Dest: c.dst, Verdict: c.verdict}))
		require.ElementsMatch(t, c.want, slices.Collect(maps.Keys(kinds(arrivals))), c.what)
		require.Len(t, truth, 1)
		require.Equal(t, c.verdict, truth[0].Verdict)
		require.Greater(t, truth[0].Connections, int64(100))
		require.Equal(t, expected(truth), sums(arrivals), c.what)
	}
}

func TestADeniedSYNLivesOnAtItsSource(t *testing.T) {
	c := one(Pair{Source: here, Dest: there, Verdict: DeniedAtDestination, Load: Load{Share: 0.05, Connections: 1}})
	arrivals, _ := all(c)
	idle := make(map[goldmane.Reporter]int)
	for _, a := range arrivals {
		if f := a.Flow; f.PacketsOut+f.PacketsIn == 0 {
			require.Zero(t, f.NumConnectionsStarted)
			require.Positive(t, f.NumConnectionsLive)
			idle[f.Key.Reporter]++
		}
	}
	require.Greater(t, idle[goldmane.Reporter_Src], 5*max(1, idle[goldmane.Reporter_Dst]))
}

func TestServiceIsKnownWhereItWasDialled(t *testing.T) {
	service := &Service{Namespace: "db", Name: "pg", Port: 5432}
	for _, c := range []struct {
		dest  End
		known bool // to the destination's node
	}{
		{there, false},
		{End{Type: there.Type, Namespace: "db", Name: "pg-*", Pods: []Pod{{Node: 0}}}, true},
	} {
		arrivals, truth := all(one(Pair{Source: here, Dest: c.dest, Service: service, Dialled: 1}))
		flows := make(map[goldmane.Reporter][2]int)
		for _, a := range arrivals {
			k := a.Flow.Key
			n := flows[k.Reporter]
			if k.DestServiceName == "pg" {
				require.Equal(t, int64(5432), k.DestServicePort)
				require.Equal(t, "-", k.DestServicePortName)
				n[1]++
			} else {
				require.Equal(t, "-", k.DestServiceName)
				n[0]++
			}
			flows[k.Reporter] = n
		}
		src, dst := flows[goldmane.Reporter_Src], flows[goldmane.Reporter_Dst]
		require.Greater(t, src[1], 50)
		require.Less(t, src[0], 6, "the first packets of one flush in fifty")
		if c.known {
			require.Zero(t, dst[0])
		} else {
			require.Zero(t, dst[1])
		}
		require.Equal(t, expected(truth), sums(arrivals))
	}
	arrivals, _ := all(one(Pair{Source: here, Dest: there, Service: service, Dialled: 0.5}))
	direct := 0
	for _, a := range arrivals {
		if a.Flow.Key.Reporter == goldmane.Reporter_Src && a.Flow.Key.DestServicePort == 0 {
			direct++
		}
	}
	require.Greater(t, direct, 30, "some go to the Pod")
}

// byStamp is when each of a node's flushes arrived: its stamp says which it is.
func byStamp(arrivals []Arrival, node string) map[int64][]time.Time {
	m := make(map[int64][]time.Time)
	for _, a := range arrivals {
		if a.Node == node {
			m[a.Flow.StartTime] = append(m[a.Flow.StartTime], a.At)
		}
	}
	return m
}

func TestANodeThatWasCutOffSendsItsLastFiveMinutesAgain(t *testing.T) {
	c := one(Pair{Source: here, Dest: there})
	from, to := after(30), after(35)
	c.Nodes[1].Cut = Times{{First: from, Length: to.Sub(from)}}
	arrivals, truth := all(c)
	require.True(t, truth[0].Cut)
	var once, twice int
	for stamp, at := range byStamp(arrivals, "two") {
		// A flush is made a window and a little after its stamp.
		made := time.Unix(stamp, 0).Add(window)
		switch {
		case made.After(from) && made.Before(to.Add(-2*window)):
			require.Len(t, at, 1, "what was held back comes once")
			require.Less(t, at[0].Sub(to), time.Second)
			require.True(t, at[0].After(to))
			once++
		case made.After(to.Add(-19*window)) && made.Before(from.Add(-2*window)):
			require.Len(t, at, 2, "what had come comes again")
			require.Less(t, at[1].Sub(to), time.Second)
			twice++
		case made.Before(to.Add(-22*window)) || made.After(to):
			require.Len(t, at, 1)
		}
	}
	require.GreaterOrEqual(t, once, 2)
	require.GreaterOrEqual(t, twice, 11)
	for of, want := range expected(truth) {
		got := sums(arrivals)[of]
		if of.reporter == goldmane.Reporter_Src {
			require.Equal(t, want, got, "the other node was not cut off")
		} else {
			require.Greater(t, got.connections, want.connections)
		}
	}
	for _, a := range arrivals {
		require.False(t, a.Node == "two" && !a.At.Before(from) && a.At.Before(to), "it was cut off at %s", a.At)
	}
}

func TestWhatIsOlderThanFiveMinutesIsLostInACut(t *testing.T) {
	c := one(Pair{Source: here, Dest: there})
	c.Nodes[1].Cut = Times{{First: after(10), Length: 30 * window}}
	arrivals, truth := all(c)
	require.InDelta(t, 9.5, len(lostOf(c, "two", byStamp(arrivals, "two"))), 1, "of thirty windows the first ten")
	for of, want := range expected(truth) {
		if of.reporter == goldmane.Reporter_Dst {
			require.Less(t, sums(arrivals)[of].connections, want.connections)
		}
	}
}

// lostOf is the stamps that a node without a cut would have sent besides.
func lostOf(c Config, node string, sent map[int64][]time.Time) []int64 {
	for i := range c.Nodes {
		c.Nodes[i].Cut, c.Nodes[i].Silent = nil, nil
	}
	arrivals, _ := all(c)
	var lost []int64
	for stamp := range byStamp(arrivals, node) {
		if sent[stamp] == nil {
			lost = append(lost, stamp)
		}
	}
	return lost
}

func TestWhatASilentNodeFlushesNeverComes(t *testing.T) {
	c := one(Pair{Source: here, Dest: there})
	c.Nodes[0].Silent = Times{{First: after(20), Length: 10 * window}}
	arrivals, truth := all(c)
	require.True(t, truth[0].Silent)
	stamps := byStamp(arrivals, "one")
	lost := lostOf(c, "one", stamps)
	require.InDelta(t, 9.5, len(lost), 1)
	for _, stamp := range lost {
		require.True(t, after(18).Unix() <= stamp && stamp < after(30).Unix())
	}
}

func TestASlowNodeReportsAllOfIt(t *testing.T) {
	c := one(Pair{Source: here, Dest: there})
	c.Nodes[1].Interval = 20
	arrivals, truth := all(c)
	require.Equal(t, expected(truth), sums(arrivals))
	stamps := byStamp(arrivals, "two")
	require.InDelta(t, 3.5, len(stamps), 1)
	for stamp, at := range stamps {
		took := at[0].Sub(time.Unix(stamp, 0))
		require.True(t, 20*window <= took && took < 23*window, "it took %s", took)
	}
}

func TestSomeFlushesComeLate(t *testing.T) {
	c := one(Pair{Source: here, Dest: there})
	c.Nodes[0].Late = 0.2
	arrivals, truth := all(c)
	late := 0
	for stamp, at := range byStamp(arrivals, "one") {
		if at[0].Sub(time.Unix(stamp, 0)) > 2*window {
			late++
		}
	}
	require.InDelta(t, 0.2*lasting, late, 8)
	require.Equal(t, expected(truth), sums(arrivals))
}

func TestReplacedPoliciesAreReportedEachWithTheWholeCounters(t *testing.T) {
	c := one(Pair{Source: here, Dest: there, Versions: 2, Swaps: Times{{First: after(3), Every: 7 * window / 5}}})
	arrivals, truth := all(c)
	require.True(t, truth[0].Split)
	byNode := make(map[string]map[int64][]*goldmane.Flow)
	for _, a := range arrivals {
		if byNode[a.Node] == nil {
			byNode[a.Node] = make(map[int64][]*goldmane.Flow)
		}
		byNode[a.Node][a.Flow.StartTime] = append(byNode[a.Node][a.Flow.StartTime], a.Flow)
	}
	split := 0
	for stamp, flows := range byNode["two"] {
		require.LessOrEqual(t, len(flows), 2)
		if len(flows) == 2 {
			split++
			a, b := proto.CloneOf(flows[0]), proto.CloneOf(flows[1])
			require.False(t, proto.Equal(a.Key, b.Key))
			a.Key, b.Key = nil, nil
			a.SourceLabels, b.SourceLabels = nil, nil
			require.True(t, proto.Equal(a, b), "%d: %v and %v", stamp, a, b)
		}
		require.LessOrEqual(t, len(byNode["one"][stamp]), 1)
	}
	require.Greater(t, split, 20)
}

func TestVerdictChanges(t *testing.T) {
	c := one(Pair{Source: here, Dest: there, Verdict: DeniedAtDestination, Changes: []Change{{after(30), Allowed}}})
	arrivals, truth := all(c)
	require.Len(t, truth, 2)
	require.Equal(t, expected(truth), sums(arrivals))
	require.Len(t, New(c).Truth(begin, after(30)), 1)
	require.Equal(t, Allowed, New(c).Truth(after(30), after(lasting))[0].Verdict)
}

func TestPhantomDenialsHaveNoTraffic(t *testing.T) {
	c := one(Pair{Source: here, Dest: there, Verdict: DeniedAtDestination, Changes: []Change{{after(30), Allowed}}, Phantom: true})
	arrivals, truth := all(c)
	require.Equal(t, expected(truth), sums(arrivals))
	phantoms := 0
	for _, a := range arrivals {
		if f := a.Flow; f.Key.Action == goldmane.Action_Deny && f.StartTime > after(32).Unix() {
			require.Zero(t, f.PacketsIn+f.PacketsOut+f.NumConnectionsStarted+f.NumConnectionsLive)
			phantoms++
		}
	}
	require.InDelta(t, 26, phantoms, 3, "at every flush")
}

func TestPodsThatLiveForSecondsAreMissedOrMisnamed(t *testing.T) {
	c := one(Pair{Source: here, Dest: there, Fleeting: &Fleeting{Life: 0.3, Misnamed: 0.3, Unseen: 0.2}})
	arrivals, truth := all(c)
	require.Len(t, truth, 1)
	require.True(t, truth[0].Uncertain)
	var named, other int64
	for _, a := range arrivals {
		if f := a.Flow; f.Key.Reporter == goldmane.Reporter_Dst {
			if f.Key.SourceName == "pvt" {
				require.Equal(t, goldmane.EndpointType_Network, f.Key.SourceType)
				require.Empty(t, f.SourceLabels)
				other += f.NumConnectionsStarted
			} else {
				named += f.NumConnectionsStarted
			}
		}
	}
	require.Equal(t, truth[0].Connections, named+other)
	require.InDelta(t, 0.2, float64(other)/float64(named+other), 0.1)
	seen := sums(arrivals)[report{truth[0].Flow, goldmane.Reporter_Src, goldmane.Action_Allow}].connections
	require.InDelta(t, 0.8, float64(seen)/float64(truth[0].Connections), 0.1)
}

// A connection that stands is in every flush of its life, with packets or without.
func TestStandingConnectionsAreReportedWhenTheyAreIdle(t *testing.T) {
	c := one(Pair{Source: here, Dest: there, Load: Load{Connections: 1, Bytes: 5000, Standing: 1, Lifetime: 25, Busy: 0.5}})
	arrivals, truth := all(c)
	require.Equal(t, expected(truth), sums(arrivals))
	var started, completed, idle int64
	flushes := make(map[int64]bool)
	for _, a := range arrivals {
		f := a.Flow
		if f.Key.Reporter != goldmane.Reporter_Src {
			continue
		}
		flushes[f.StartTime] = true
		started += f.NumConnectionsStarted
		completed += f.NumConnectionsCompleted
		require.Positive(t, f.NumConnectionsLive)
		if f.PacketsOut == 0 {
			idle++
		}
	}
	require.Equal(t, started, completed)
	require.Equal(t, truth[0].Connections, started)
	require.Less(t, started, int64(6))
	require.InDelta(t, lasting/pace, len(flushes), 3)
	require.InDelta(t, lasting/2, idle, 10)
}

func TestAPodThatMovesIsReportedByItsNewNode(t *testing.T) {
	src := here
	src.Pods = []Pod{{Node: 0, End: after(20)}, {Node: 1, Begin: after(20)}}
	arrivals, truth := all(one(Pair{Source: src, Dest: away}))
	require.Equal(t, expected(truth), sums(arrivals))
	for _, a := range arrivals {
		if a.Node == "one" {
			require.Less(t, a.Flow.StartTime, after(21).Unix())
		} else {
			require.Greater(t, a.Flow.StartTime, after(18).Unix())
		}
	}
}

func TestAClockThatIsAheadStampsAhead(t *testing.T) {
	c := one(Pair{Source: here, Dest: there})
	right, _ := all(c)
	c.Nodes[0].Skew = 5 * time.Second
	ahead, _ := all(c)
	require.Len(t, ahead, len(right))
	for i := range ahead {
		skew := int64(0)
		if ahead[i].Node == "one" {
			skew = 5
		}
		require.Equal(t, right[i].Flow.StartTime+skew, ahead[i].Flow.StartTime)
	}
}

// The Pods of a job have a name of their own each time.
func TestPassingPairsLiveInTheirEpoch(t *testing.T) {
	c := one(Pair{Source: here, Dest: there})
	c.Pairs = nil
	c.Passing = []Passing{{Span: 4, Pairs: func(epoch int64) []Pair {
		p := one(Pair{Source: here, Dest: there}).Pairs[0]
		p.Port = epoch % 60000
		return []Pair{p}
	}}}
	tr := New(c)
	truth := tr.Truth(c.Begin, c.End)
	require.InDelta(t, lasting/4, len(truth), 1)
	require.Equal(t, expected(truth), sums(tr.Arrivals(c.Begin, c.End.Add(5*window))))
	for i, x := range truth {
		alone := tr.Truth(after(float64(4*i-4)), after(float64(4*i+8)))
		require.Contains(t, alone, x, "all of it was in four windows")
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	for v := range verdicts {
		text, err := v.MarshalText()
		require.NoError(t, err)
		var again Verdict
		require.NoError(t, again.UnmarshalText(text))
		require.Equal(t, v, again)
	}
	require.EqualError(t, new(Verdict).UnmarshalText([]byte("maybe")), `"maybe" is no verdict`)
}

func TestTimesRecur(t *testing.T) {
	ts := Times{{First: after(10), Length: 2 * window, Every: 20 * window}, {First: after(15), Length: window}}
	at := func(n float64) int64 { return after(n).UnixNano() }
	for n, want := range map[float64]bool{0: false, 10: true, 11.9: true, 12: false, 15.5: true, 16: false, 31: true, 35.5: false, 51: true} {
		require.Equal(t, want, ts.covers(at(n)), "%f", n)
	}
	require.Equal(t, []int64{at(12), at(16), at(32)}, ts.ends(at(11), at(32)))
	require.Equal(t, int64(3), ts.begun(at(30)))
	require.True(t, ts.overlap(at(12), at(13), 0, int64(window)))
	require.False(t, ts.overlap(at(12), at(15), 0, 0))
	require.True(t, ts.overlap(at(12), at(15), 1, 0))
}
