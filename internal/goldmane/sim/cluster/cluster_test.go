package cluster

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	length = 15 * time.Second
	begin  = int64(1_700_000_010) // a multiple of 15
)

func TestWindowIsAFunctionOfSeedAndStart(t *testing.T) {
	one, again, other := New(7), New(7), New(8)
	one.Window(begin+30, length) // what was asked before does not matter
	a, b := one.Window(begin, length), again.Window(begin, length)
	require.Len(t, b, len(a))
	for i := range a {
		require.Equal(t, a[i].Node, b[i].Node)
		require.Equal(t, a[i].After, b[i].After)
		require.True(t, proto.Equal(a[i].Flow, b[i].Flow), "%v\n%v", a[i].Flow, b[i].Flow)
	}
	require.False(t, slices.EqualFunc(a, other.Window(begin, length), func(x, y Arrival) bool {
		return proto.Equal(x.Flow, y.Flow)
	}), "another seed is other traffic")
	next := one.Window(begin+15, length)
	require.False(t, slices.EqualFunc(a, next, func(x, y Arrival) bool {
		return x.Flow.PacketsIn == y.Flow.PacketsIn
	}), "another window is other traffic")
}

// Also what comes and goes, and what comes again after the hour's cut.
func TestPiecesAreTheWhole(t *testing.T) {
	from := time.Unix(begin, 0)
	to := from.Add(25 * length)
	whole := New(1).Arrivals(from, to, length)
	c := New(1)
	i := 0
	for at := from; at.Before(to); at = at.Add(length) {
		for _, a := range c.Arrivals(at, at.Add(length), length) {
			require.Equal(t, whole[i].At, a.At)
			require.True(t, proto.Equal(whole[i].Flow, a.Flow), "%v\n%v", whole[i].Flow, a.Flow)
			i++
		}
	}
	require.Len(t, whole, i)
}

// In a demo's twenty windows of history something is wrong seldom; in an hour always.
func TestSomethingGoesWrongOnceAnHour(t *testing.T) {
	for seed := range uint64(3) {
		c := New(seed)
		var cuts, silences int
		wrong, demos := 0, 0
		conf := c.Config(length)
		for hour := range int64(45) {
			for minute := range int64(60) {
				now := time.Unix(begin+hour*3600+minute*60, 0)
				bad := false
				for _, n := range conf.Nodes {
					for _, r := range append(slices.Clone(n.Cut), n.Silent...) {
						since := now.Sub(r.First) % r.Every
						bad = bad || since >= 0 && since < r.Length+20*length
						if since >= 0 && since < time.Minute {
							if r.Length == cutFor*length {
								cuts++
							} else {
								silences++
							}
						}
					}
				}
				demos++
				if bad {
					wrong++
				}
			}
		}
		require.InDelta(t, 45, cuts, 1)
		require.InDelta(t, 9, silences, 1)
		require.Less(t, float64(wrong)/float64(demos), 0.15)
	}
}

// windows are a good number of them, out of step with the hour.
const windows = 20

func each(c *Cluster, f func(start int64, as []Arrival)) {
	for i := range int64(windows) {
		start := begin + i*15*41
		f(start, c.Window(start, length))
	}
}

func TestFlowsArriveAsFelixSendsThem(t *testing.T) {
	var all, late, veryLate, nodeWindows int
	each(New(1), func(start int64, as []Arrival) {
		sent := make(map[string]bool)
		for _, a := range as {
			if s := a.Flow.StartTime; s < start || s >= start+15 {
				t.Fatalf("a flow begins at %d, outside of its window %d", s, start)
			}
			if a.Node == nodes[remote].name {
				// It flushes every 300 s and a little more.
				require.GreaterOrEqual(t, a.After, 20*length)
				require.Less(t, a.After, 24*length)
				continue
			}
			if a.After < length || a.After >= 5*length {
				t.Fatalf("a flow arrives %s after its window's start", a.After)
			}
			all++
			if a.After > 2*length {
				late++
			}
			if a.After > 3*length {
				veryLate++
			}
			sent[a.Node] = true
		}
		nodeWindows += len(sent)
	})
	require.InDelta(t, 0.06, float64(late)/float64(all), 0.03)
	require.Positive(t, veryLate)
	require.Less(t, float64(veryLate)/float64(all), 0.02)
	// One node and window in twenty has no flush.
	require.InDelta(t, 0.95, float64(nodeWindows)/float64(windows*remote), 0.03)
}

// Felix adds up what has one key, and Goldmane drops what comes twice from one node.
func TestNodeSendsAKeyOnceAWindow(t *testing.T) {
	for seed := range uint64(2) {
		each(New(seed), func(_ int64, as []Arrival) {
			sent := make(map[string]bool)
			for _, a := range as {
				id := a.Node + keyID(a.Flow.Key)
				if sent[id] {
					t.Errorf("%s sends twice %v", a.Node, a.Flow.Key)
				}
				sent[id] = true
			}
		})
	}
}

func TestWindowIsOfBelievableShape(t *testing.T) {
	c := New(1)
	require.GreaterOrEqual(t, len(c.workloads), 100)
	require.GreaterOrEqual(t, len(c.namespaces), 20)

	var rows, outside int
	counts := make(map[string]int)
	each(c, func(_ int64, as []Arrival) {
		keys := make(map[string]int)
		for _, a := range as {
			id := keyID(a.Flow.Key)
			keys[id]++
			if keys[id] > 1 {
				counts["a key of several nodes"]++
				continue
			}
			for _, what := range describe(a.Flow) {
				counts[what]++
			}
		}
		require.GreaterOrEqual(t, len(keys), 600)
		require.LessOrEqual(t, len(keys), 1000)
		rows += len(keys)
		outside = counts["outside endpoint"]
	})
	require.InDelta(t, 0.5, float64(outside)/float64(rows), 0.05)
	for _, what := range []string{
		"a key of several nodes", "source reports", "destination reports", "denied egress", "denied ingress",
		"source allows", "end of tier", "pass", "staged differs", "profile", "icmp", "unnamed port", "idle",
		"phantom", "empty as dash", "empty as nothing", "host source", "network set", "global network set",
		"identity label", "identity label missing", "dns", "pub", "pvt",
	} {
		require.Positive(t, counts[what], what)
	}
}

// describe names what is particular about a flow.
func describe(f *goldmane.Flow) []string {
	k := f.Key
	var is []string
	add := func(cond bool, what string) {
		if cond {
			is = append(is, what)
		}
	}
	isOutside := func(t goldmane.EndpointType) bool {
		return t == goldmane.EndpointType_Network || t == goldmane.EndpointType_NetworkSet
	}
	add(isOutside(k.SourceType) || isOutside(k.DestType), "outside endpoint")
	add(k.Reporter == goldmane.Reporter_Src, "source reports")
	add(k.Reporter == goldmane.Reporter_Dst, "destination reports")
	deny := k.Action == goldmane.Action_Deny
	add(deny && k.Reporter == goldmane.Reporter_Src, "denied egress")
	add(deny && k.Reporter == goldmane.Reporter_Dst, "denied ingress")
	add(k.Action == goldmane.Action_Allow && k.Reporter == goldmane.Reporter_Src, "source allows")
	for _, h := range k.Policies.EnforcedPolicies {
		add(h.Kind == goldmane.PolicyKind_EndOfTier && h.Trigger != nil && h.Name == "", "end of tier")
		add(h.Action == goldmane.Action_Pass, "pass")
		add(h.Kind == goldmane.PolicyKind_Profile && h.Tier == "", "profile")
	}
	add(!proto.Equal(
		&goldmane.PolicyTrace{EnforcedPolicies: k.Policies.EnforcedPolicies},
		&goldmane.PolicyTrace{EnforcedPolicies: k.Policies.PendingPolicies}), "staged differs")
	add(k.Proto == "icmp" && k.DestPort == 8<<8, "icmp")
	add(k.DestServicePort != 0 && k.DestServicePortName == "-", "unnamed port")
	silent := f.PacketsIn+f.PacketsOut == 0
	add(silent && f.NumConnectionsLive > 0, "idle")
	add(silent && deny && f.NumConnectionsLive == 0, "phantom")
	add(k.DestServiceName == "-", "empty as dash")
	add(k.DestServiceName == "", "empty as nothing")
	add(k.SourceType == goldmane.EndpointType_HostEndpoint, "host source")
	set := k.DestType == goldmane.EndpointType_NetworkSet
	add(set && k.DestNamespace != "-", "network set")
	add(set && k.DestNamespace == "-", "global network set")
	if k.SourceNamespace == "monitoring" || k.SourceNamespace == "dbaas" {
		has := slices.ContainsFunc(f.SourceLabels, func(l string) bool { return len(l) > 17 && l[:17] == "service-identity=" })
		add(has, "identity label")
		add(!has, "identity label missing")
	}
	add(k.DestPort == 53 && k.DestServiceName == "kube-dns", "dns")
	add(k.DestName == "pub", "pub")
	add(k.DestName == "pvt", "pvt")
	return is
}

func TestAllowedTrafficBetweenWorkloadsIsReportedByBothEnds(t *testing.T) {
	type end struct{ from, to string }
	sides := make(map[end]map[goldmane.Reporter]bool)
	for _, a := range New(1).Window(begin, length) {
		k := a.Flow.Key
		if k.SourceType != goldmane.EndpointType_WorkloadEndpoint || k.DestType != goldmane.EndpointType_WorkloadEndpoint {
			// Only the workload's own node reports.
			require.Equal(t, k.SourceType == goldmane.EndpointType_WorkloadEndpoint, k.Reporter == goldmane.Reporter_Src)
			continue
		}
		e := end{k.SourceName, k.DestName}
		if sides[e] == nil {
			sides[e] = make(map[goldmane.Reporter]bool)
		}
		sides[e][k.Reporter] = true
	}
	both := 0
	for _, reporters := range sides {
		if len(reporters) == 2 {
			both++
		}
	}
	// The rest: a node without a flush in this window, or an egress denial.
	require.Greater(t, float64(both)/float64(len(sides)), 0.75)
}

// A pair that is one key to Goldmane must be one of the engine's.
func TestEdgesHaveKeysOfTheirOwn(t *testing.T) {
	for seed := range uint64(20) {
		seen := make(map[string]bool)
		for _, e := range New(seed).edges {
			require.False(t, seen[e.id], e.id)
			seen[e.id] = true
		}
	}
}

func TestTenPairsWithOnePodAnEndAreAlwaysDenied(t *testing.T) {
	for seed := range uint64(50) {
		require.Len(t, New(seed).alone(), deniedAlone, "seed %d", seed)
	}
	c := New(1)
	from := time.Unix(begin, 0)
	truth := c.Truth(from, from.Add(20*time.Minute), length)
	denied := make(map[traffic.Flow]bool)
	for _, tr := range truth {
		if tr.Verdict == traffic.DeniedAtDestination && len(tr.SourceNodes) == 1 && len(tr.DestNodes) == 1 && tr.SourceNodes[0] != tr.DestNodes[0] {
			denied[tr.Flow] = true
		}
	}
	for _, tr := range truth {
		require.False(t, tr.Verdict == traffic.Allowed && denied[tr.Flow], "%v", tr.Flow)
	}
	require.GreaterOrEqual(t, len(denied), deniedAlone)
}

// A demo shows at least 30 edges; count those between namespaces in few windows.
func TestManyEdgesBetweenServices(t *testing.T) {
	edges, denied, toInternet := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for i := range int64(4) {
		for _, a := range New(1).Window(begin+i*15, length) {
			k := a.Flow.Key
			e := k.SourceNamespace + ">" + k.DestNamespace + k.DestName
			edges[e] = true
			if k.Action == goldmane.Action_Deny {
				denied[e] = true
			}
			if k.DestName == "pub" {
				toInternet[e] = true
			}
		}
	}
	require.GreaterOrEqual(t, len(edges), 30)
	require.GreaterOrEqual(t, len(denied), 3)
	require.GreaterOrEqual(t, len(toInternet), 5)
}

func TestWideHasExactlyThatManyKeys(t *testing.T) {
	flows := New(1).Wide(begin, length, 10_000)
	keys := make(map[string]bool)
	for _, f := range flows {
		keys[keyID(f.Key)] = true
	}
	require.Len(t, flows, 10_000)
	require.Len(t, keys, 10_000)
}

func BenchmarkWindow(b *testing.B) {
	c := New(1)
	b.ReportAllocs()
	for b.Loop() {
		c.Window(begin, length)
	}
}
