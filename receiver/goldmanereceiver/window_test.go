package goldmanereceiver

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
)

const windowStart = int64(1_700_000_010)

// row is a flow of frontend/web to payments/api that the source allowed, changed by
// the given functions.
func row(change ...func(*goldmane.Flow)) *goldmane.FlowResult {
	f := &goldmane.Flow{
		Key: &goldmane.FlowKey{
			SourceName: "web-5f7d-*", SourceNamespace: "frontend", SourceType: goldmane.EndpointType_WorkloadEndpoint,
			DestName: "api-7d9c-*", DestNamespace: "payments", DestType: goldmane.EndpointType_WorkloadEndpoint, DestPort: 8080,
			DestServiceName: "api", DestServiceNamespace: "payments", DestServicePortName: "http", DestServicePort: 80,
			Proto: "tcp", Reporter: goldmane.Reporter_Src, Action: goldmane.Action_Allow,
			Policies: &goldmane.PolicyTrace{
				EnforcedPolicies: []*goldmane.PolicyHit{{Kind: goldmane.PolicyKind_Profile, Name: "kns.frontend", Action: goldmane.Action_Allow}},
				PendingPolicies:  []*goldmane.PolicyHit{{Kind: goldmane.PolicyKind_Profile, Name: "kns.frontend", Action: goldmane.Action_Allow}},
			},
		},
		StartTime: windowStart, EndTime: windowStart + 15,
		SourceLabels: []string{"app=web"}, DestLabels: []string{"app=api"},
		PacketsIn: 8, PacketsOut: 10, BytesIn: 800, BytesOut: 1000,
		NumConnectionsStarted: 3, NumConnectionsCompleted: 2, NumConnectionsLive: 1,
	}
	for _, c := range change {
		c(f)
	}
	return &goldmane.FlowResult{Id: 1, Flow: f}
}

// atDestination makes the flow the destination's report of the same traffic.
func atDestination(f *goldmane.Flow) {
	k := f.Key
	k.Reporter = goldmane.Reporter_Dst
	k.DestServiceName, k.DestServiceNamespace, k.DestServicePortName, k.DestServicePort = "-", "-", "-", 0
	k.Policies = &goldmane.PolicyTrace{EnforcedPolicies: []*goldmane.PolicyHit{
		{Kind: goldmane.PolicyKind_NetworkPolicy, Tier: "default", Namespace: "payments", Name: "allow-web", Action: goldmane.Action_Allow},
	}}
	f.PacketsIn, f.PacketsOut, f.BytesIn, f.BytesOut = f.PacketsOut, f.PacketsIn, f.BytesOut, f.BytesIn
}

func denied(f *goldmane.Flow) {
	f.Key.Action = goldmane.Action_Deny
	f.Key.Policies = &goldmane.PolicyTrace{EnforcedPolicies: []*goldmane.PolicyHit{
		{
			Kind: goldmane.PolicyKind_EndOfTier, Tier: "default", Action: goldmane.Action_Deny, RuleIndex: -1,
			Trigger: &goldmane.PolicyHit{Kind: goldmane.PolicyKind_NetworkPolicy, Tier: "default", Namespace: "payments", Name: "deny-all"},
		},
	}}
}

func assemble(t testing.TB, mergeReporters bool, rows ...*goldmane.FlowResult) (*window, *converter) {
	t.Helper()
	c, err := newConverter([]string{"*"})
	require.NoError(t, err)
	w, err := alone(encode(t, rows...), c, mergeReporters)
	require.NoError(t, err)
	return w, c
}

// alone settles the window at windowStart by its own reports, as where nothing is within
// reach and nothing is to come.
func alone(a answer, c *converter, mergeReporters bool) (*window, error) {
	near, _, err := pairsOf(windowStart, a)
	if err != nil {
		return nil, err
	}
	w, err := readWindow(windowStart, a, c, &c.labels)
	if err != nil {
		return nil, err
	}
	w.settle(settling{near: near, reporters: mergeReporters})
	w.order()
	return w, nil
}

// encode is the rows as Goldmane sends them.
func encode(t testing.TB, rows ...*goldmane.FlowResult) answer {
	t.Helper()
	b, err := proto.Marshal(&goldmane.FlowListResult{Meta: &goldmane.ListMetadata{TotalPages: 1, TotalResults: int64(len(rows))}, Flows: rows})
	require.NoError(t, err)
	return answer{string(b)}
}

func lines(w *window) []string {
	var all []string
	for _, r := range w.records {
		all = append(all, told(w, &r))
	}
	slices.Sort(all)
	return all
}

// told is the record's line, followed by what its last word stands for.
func told(w *window, r *record) string {
	f := &w.flows[r.flow]
	s := f.Service
	service := fmt.Sprintf("%s/%s:%s:%d", s.Namespace, s.Name, s.PortName, s.Port)
	if s == (flowlog.Service{}) {
		service = "-"
	}
	words := strings.Fields(r.line)
	line := strings.Join(append(words[:10], words[11:]...), " ")
	return fmt.Sprintf("%s via %s by %s egress %s ingress %s pending %s %s", line, service,
		cmp.Or(f.Deciding, "-"), cmp.Or(f.Egress, "-"), cmp.Or(f.Ingress, "-"), cmp.Or(f.EgressPending, "-"), cmp.Or(f.IngressPending, "-"))
}

const (
	bySource = "v2 unconfirmed frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp src 3/2/1 10/1000 8/800 via payments/api:http:80 by profile:kns.frontend#0=allow egress profile:kns.frontend#0=allow ingress - pending - -"
	byBoth   = "v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp both 3/2/1 10/1000 8/800 via payments/api:http:80 by np:default/payments/allow-web#0=allow egress profile:kns.frontend#0=allow ingress np:default/payments/allow-web#0=allow pending - -"
	byDest   = "v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp dst 3/2/1 10/1000 8/800 via - by np:default/payments/allow-web#0=allow egress - ingress np:default/payments/allow-web#0=allow pending - -"
)

// uncounted is the line of the same record where it is in no sum.
func uncounted(line string) string { return strings.Replace(line, " via ", " uncounted via ", 1) }

func TestMergeReporters(t *testing.T) {
	fewer := func(f *goldmane.Flow) { f.NumConnectionsStarted, f.NumConnectionsLive, f.PacketsOut = 1, 0, 1 }
	direct := func(f *goldmane.Flow) {
		f.Key.DestServiceName, f.Key.DestServiceNamespace, f.Key.DestServicePortName, f.Key.DestServicePort = "", "", "", 0
	}
	const eot = "np:default/payments/deny-all#eot=deny"
	for name, test := range map[string]struct {
		rows   []*goldmane.FlowResult
		want   []string
		merged int64
	}{
		"one side only": {[]*goldmane.FlowResult{row()}, []string{bySource}, 0},
		"both sides":    {[]*goldmane.FlowResult{row(), row(atDestination)}, []string{byBoth}, 1},
		"the source allows, the destination denies": {
			[]*goldmane.FlowResult{row(), row(atDestination, denied)},
			[]string{"v2 deny frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp both,allow/deny 3/2/1 10/1000 8/800 via payments/api:http:80 by " + eot + " egress profile:kns.frontend#0=allow ingress " + eot + " pending - -"},
			1,
		},
		"what the source denied does not reach the destination": {
			[]*goldmane.FlowResult{row(denied), row(atDestination)},
			[]string{uncounted(byDest), "v2 deny frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp src 3/2/1 10/1000 8/800 via payments/api:http:80 by " + eot + " egress " + eot + " ingress - pending - -"},
			0,
		},
		"through a Service and past it, one verdict for both": {
			[]*goldmane.FlowResult{row(), row(direct, fewer), row(atDestination)},
			[]string{
				"v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp both 1/2/0 1/1000 8/800 via - by np:default/payments/allow-web#0=allow egress profile:kns.frontend#0=allow ingress np:default/payments/allow-web#0=allow pending - -",
				byBoth,
			},
			1,
		},
		"two verdicts at the destination: its own reports count, the source's does not": {
			[]*goldmane.FlowResult{row(), row(atDestination, denied, fewer), row(atDestination)},
			[]string{uncounted(bySource), byDest, "v2 deny frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp dst 1/2/0 10/1000 1/800 via - by " + eot + " egress - ingress " + eot + " pending - -"},
			0,
		},
		"other ports are other edges": {
			[]*goldmane.FlowResult{row(), row(atDestination, func(f *goldmane.Flow) { f.Key.DestPort = 8081 })},
			[]string{bySource, "v2 allow frontend/web-5f7d-* -> payments/api-7d9c-* 8081/tcp dst 3/2/1 10/1000 8/800 via - by np:default/payments/allow-web#0=allow egress - ingress np:default/payments/allow-web#0=allow pending - -"},
			0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := assemble(t, true, test.rows...)
			slices.Sort(test.want)
			assert.Equal(t, test.want, lines(w))
			assert.Equal(t, test.merged, w.byReporter)
		})
	}
}

func TestReportersApart(t *testing.T) {
	w, _ := assemble(t, false, row(), row(atDestination))
	assert.Equal(t, []string{uncounted(byDest), strings.Replace(bySource, " unconfirmed ", " allow ", 1)}, lines(w))
	assert.Zero(t, w.merged)
}

// Calico before 3.31.5 sends the policies of one trace in random order, and Goldmane
// takes the order for a part of the key.
func TestKeysThatDifferInPolicyOrderAreOne(t *testing.T) {
	hits := []*goldmane.PolicyHit{
		{Kind: goldmane.PolicyKind_GlobalNetworkPolicy, Tier: "security", Name: "quarantine", Action: goldmane.Action_Pass, PolicyIndex: 0, RuleIndex: 2},
		{Kind: goldmane.PolicyKind_CalicoNetworkPolicy, Tier: "default", Namespace: "payments", Name: "api", Action: goldmane.Action_Allow, PolicyIndex: 1},
	}
	trace := func(order ...int) func(*goldmane.Flow) {
		return func(f *goldmane.Flow) {
			f.Key.Policies = &goldmane.PolicyTrace{}
			for _, i := range order {
				f.Key.Policies.EnforcedPolicies = append(f.Key.Policies.EnforcedPolicies, hits[i])
			}
		}
	}
	labels := func(f *goldmane.Flow) { f.SourceLabels = []string{"app=web", "canary=yes"} }
	w, _ := assemble(t, true, row(trace(0, 1)), row(trace(1, 0), labels))
	assert.Equal(t, []string{"v2 unconfirmed frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp src 6/4/2 20/2000 16/1600 via payments/api:http:80 by cnp:default/payments/api#0=allow egress gnp:security/quarantine#2=pass,cnp:default/payments/api#0=allow ingress - pending - -"}, lines(w))
	assert.Equal(t, merged{byPolicyOrder: 1}, w.merged)
	assert.Equal(t, []flowlog.Label{{Key: "app", Value: "web"}}, w.flows[w.records[0].flow].Source.Labels, "labels are the intersection")
}

// Where policies change, a node reports a flow once for each set that it saw, each time with
// the whole counters; several nodes report what each of them has.
func TestRowsThatDifferInPoliciesOnly(t *testing.T) {
	by := func(policy string) func(*goldmane.Flow) {
		return func(f *goldmane.Flow) {
			f.Key.Policies = &goldmane.PolicyTrace{EnforcedPolicies: []*goldmane.PolicyHit{
				{Kind: goldmane.PolicyKind_NetworkPolicy, Tier: "default", Namespace: "frontend", Name: policy, Action: goldmane.Action_Allow},
			}}
		}
	}
	other := func(f *goldmane.Flow) { f.PacketsOut, f.NumConnectionsStarted = 7, 1 }
	const api = "frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp "
	for name, test := range map[string]struct {
		rows   []*goldmane.FlowResult
		want   []string // without what follows " via"
		merged merged
	}{
		"equal counters are one traffic": {
			[]*goldmane.FlowResult{row(by("old")), row(by("new"))},
			[]string{"v2 unconfirmed " + api + "src 3/2/1 10/1000 8/800 split:2"},
			merged{byPolicies: 1},
		},
		"others are of several nodes": {
			[]*goldmane.FlowResult{row(by("old")), row(by("new"), other)},
			[]string{"v2 unconfirmed " + api + "src 4/4/2 17/2000 16/1600 split:2"},
			merged{byPolicies: 1},
		},
		"both": {
			[]*goldmane.FlowResult{row(by("a")), row(by("b"), other), row(by("c")), row(by("d"), other)},
			[]string{"v2 unconfirmed " + api + "src 4/4/2 17/2000 16/1600 split:4"},
			merged{byPolicies: 3},
		},
		"merged with the other side's report": {
			[]*goldmane.FlowResult{row(by("old")), row(by("new")), row(atDestination)},
			[]string{"v2 allow " + api + "both 3/2/1 10/1000 8/800 split:2"},
			merged{byPolicies: 1, byReporter: 1},
		},
		"two verdicts are two": {
			[]*goldmane.FlowResult{row(atDestination), row(atDestination, denied)},
			[]string{"v2 allow " + api + "dst 3/2/1 10/1000 8/800", "v2 deny " + api + "dst 3/2/1 10/1000 8/800"},
			merged{},
		},
		"two Services are two": {
			[]*goldmane.FlowResult{row(by("old")), row(by("new"), func(f *goldmane.Flow) { f.Key.DestServiceName = "other" })},
			[]string{"v2 unconfirmed " + api + "src 3/2/1 10/1000 8/800", "v2 unconfirmed " + api + "src 3/2/1 10/1000 8/800"},
			merged{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := assemble(t, true, test.rows...)
			var got []string
			for _, line := range lines(w) {
				line, _, _ = strings.Cut(line, " via ")
				got = append(got, line)
			}
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.merged, w.merged)
		})
	}
}

func TestOddRows(t *testing.T) {
	for name, test := range map[string]struct {
		row       *goldmane.FlowResult
		records   int
		discarded discarded
		odd       oddities
		line      string
	}{
		"an empty row":         {row: nil, discarded: discarded{noFlow: 1}},
		"no flow":              {row: &goldmane.FlowResult{}, discarded: discarded{noFlow: 1}},
		"no key":               {row: row(func(f *goldmane.Flow) { f.Key = nil }), discarded: discarded{noKey: 1}},
		"an unfinished window": {row: row(func(f *goldmane.Flow) { f.StartTime, f.EndTime = 0, 0 }), discarded: discarded{unfinished: 1}},
		"another window":       {row: row(func(f *goldmane.Flow) { f.StartTime += 15 }), discarded: discarded{otherWindow: 1}},
		"no policies": {
			row: row(func(f *goldmane.Flow) { f.Key.Policies = nil }), records: 1, odd: oddities{noPolicies: 1},
			line: "v2 unconfirmed frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp src 3/2/1 10/1000 8/800 via payments/api:http:80 by - egress - ingress - pending - -",
		},
		"an empty hit": {
			row: row(func(f *goldmane.Flow) {
				f.Key.Policies.EnforcedPolicies = append(f.Key.Policies.EnforcedPolicies, &goldmane.PolicyHit{})
			}), records: 1, odd: oddities{emptyHits: 1}, line: bySource,
		},
		"numbers that nobody knows": {
			row: row(func(f *goldmane.Flow) {
				f.Key.SourceType, f.Key.Reporter, f.Key.Action = 9, 3, 7
				f.Key.Policies = &goldmane.PolicyTrace{EnforcedPolicies: []*goldmane.PolicyHit{{Kind: 12, Tier: "t", Name: "p", Action: 8}}}
			}), records: 1, odd: oddities{unknownEnums: 5},
			line: "v2 action-7 type-9:frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp reporter-3,action-7/- 3/2/1 10/1000 8/800 via payments/api:http:80 by - egress kind-12:t/p#0=action-8 ingress - pending - -",
		},
		"a label without a value": {
			row: row(func(f *goldmane.Flow) { f.SourceLabels = []string{"odd", ""} }), records: 1, odd: oddities{labels: 1}, line: bySource,
		},
		"capitals, dashes for nothing, a network": {
			row: row(func(f *goldmane.Flow) {
				k := f.Key
				k.Proto, k.SourceType, k.SourceName, k.SourceNamespace = "TCP", goldmane.EndpointType_Network, "pub", "-"
				k.DestServiceName, k.DestServiceNamespace, k.DestServicePortName, k.DestServicePort = "-", "", "-", 0
				k.Policies = &goldmane.PolicyTrace{}
			}), records: 1,
			line: "v2 unconfirmed internet -> payments/api-7d9c-* 8080/tcp src 3/2/1 10/1000 8/800 via - by - egress - ingress - pending - -",
		},
		"an end of tier without a trigger": {
			row: row(func(f *goldmane.Flow) {
				f.Key.Policies = &goldmane.PolicyTrace{EnforcedPolicies: []*goldmane.PolicyHit{{Kind: goldmane.PolicyKind_EndOfTier, Tier: "default", Action: goldmane.Action_Allow}}}
			}), records: 1,
			line: "v2 unconfirmed frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp src 3/2/1 10/1000 8/800 via payments/api:http:80 by tier:default/-#eot=allow egress tier:default/-#eot=allow ingress - pending - -",
		},
		"a NetworkSet, whose name holds its namespace": {
			row: row(func(f *goldmane.Flow) {
				f.Key.DestType, f.Key.DestNamespace, f.Key.DestName = goldmane.EndpointType_NetworkSet, "payments", "payments/banks"
			}), records: 1,
			line: "v2 allow frontend/web-5f7d-* -> networkset:payments/banks 8080/tcp src 3/2/1 10/1000 8/800 via payments/api:http:80 by profile:kns.frontend#0=allow egress profile:kns.frontend#0=allow ingress - pending - -",
		},
		"ICMP packs type and code": {
			row: row(func(f *goldmane.Flow) { f.Key.Proto, f.Key.DestPort = "icmp", 3<<8|1 }), records: 1,
			line: "v2 unconfirmed frontend/web-5f7d-* -> payments/api-7d9c-* 3.1/icmp src 3/2/1 10/1000 8/800 via payments/api:http:80 by profile:kns.frontend#0=allow egress profile:kns.frontend#0=allow ingress - pending - -",
		},
		"a staged policy": {
			row: row(func(f *goldmane.Flow) {
				f.Key.Policies.PendingPolicies = []*goldmane.PolicyHit{{Kind: goldmane.PolicyKind_StagedNetworkPolicy, Tier: "default", Namespace: "frontend", Name: "lockdown", Action: goldmane.Action_Deny, RuleIndex: 1}}
			}), records: 1,
			line: "v2 unconfirmed frontend/web-5f7d-* -> payments/api-7d9c-* 8080/tcp src 3/2/1 10/1000 8/800 via payments/api:http:80 by profile:kns.frontend#0=allow egress profile:kns.frontend#0=allow ingress - pending staged-cnp:default/frontend/lockdown#1=deny -",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := assemble(t, true, test.row)
			require.Len(t, w.records, test.records)
			assert.Equal(t, test.discarded, c.discarded)
			assert.Equal(t, test.odd, c.odd)
			if test.records > 0 {
				assert.Equal(t, test.line, told(w, &w.records[0]))
			}
		})
	}
}

func TestLabelsArePassedOnByGlob(t *testing.T) {
	labels := func(f *goldmane.Flow) {
		f.SourceLabels = []string{"app.kubernetes.io/name=web", "pod-template-hash=5f7d", "service-identity=web", "odd"}
	}
	c, err := newConverter([]string{"app.*/*", "service-identity"})
	require.NoError(t, err)
	for range 2 { // the second time from memory
		w, err := alone(encode(t, row(labels)), c, true)
		require.NoError(t, err)
		assert.Equal(t, []flowlog.Label{{Key: "app.kubernetes.io/name", Value: "web"}, {Key: "service-identity", Value: "web"}}, w.flows[0].Source.Labels)
		assert.Empty(t, w.flows[0].Destination.Labels)
	}
}

// rows is a window of the simulator's cluster, as List would answer it: one row a
// key. Contributions of several nodes are left as rows of their own, which a real
// answer never has; the tests that use it do not mind.
func rows(seed uint64) []*goldmane.FlowResult {
	var all []*goldmane.FlowResult
	for i, a := range cluster.New(seed).Window(windowStart, 15e9) {
		f := proto.Clone(a.Flow).(*goldmane.Flow)
		f.StartTime, f.EndTime = windowStart, windowStart+15
		all = append(all, &goldmane.FlowResult{Id: int64(i), Flow: f})
	}
	return all
}

func marshal(t *testing.T, w *window) []byte {
	t.Helper()
	var m plog.ProtoMarshaler
	b, err := m.MarshalLogs(w.logs(0, len(w.records)))
	require.NoError(t, err)
	return b
}

// Goldmane answers in random order, and before 3.31.5 with policies in random order.
// A window read twice is the same to the byte.
func TestAWindowIsTheSameWhateverOrderItComesIn(t *testing.T) {
	first, _ := assemble(t, true, rows(1)...)
	want := marshal(t, first)
	r := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		again := rows(1)
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		for _, row := range again {
			hits := row.Flow.Key.Policies.GetEnforcedPolicies()
			r.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
		}
		w, _ := assemble(t, true, again...)
		require.Equal(t, want, marshal(t, w))
	}
}

// Nothing is lost in a window: counters and flows add up, before and after merging.
func TestAWindowAddsUp(t *testing.T) {
	all := rows(2)
	var want flowlog.Counters
	for _, row := range all {
		f := row.Flow
		c := flowlog.Counters{
			SourcePackets: f.PacketsOut, SourceBytes: f.BytesOut, DestinationPackets: f.PacketsIn, DestinationBytes: f.BytesIn,
			ConnectionsStarted: f.NumConnectionsStarted, ConnectionsCompleted: f.NumConnectionsCompleted, ConnectionsLive: f.NumConnectionsLive,
		}
		if f.Key.Reporter == goldmane.Reporter_Dst {
			c.SourcePackets, c.SourceBytes, c.DestinationPackets, c.DestinationBytes = f.PacketsIn, f.BytesIn, f.PacketsOut, f.BytesOut
		}
		want.Add(&c)
	}
	apart, c := assemble(t, false, all...)
	assert.Zero(t, c.discarded)
	assert.Equal(t, len(all), len(apart.records)+int(apart.byPolicyOrder))
	var got flowlog.Counters
	for _, r := range apart.records {
		got.Add(&apart.flows[r.flow].Counters)
	}
	assert.Equal(t, want, got)

	together, _ := assemble(t, true, rows(2)...)
	assert.Positive(t, together.byReporter)
	assert.Equal(t, len(apart.records), len(together.records)+int(together.byReporter))
}

func TestRecordsAreInOrderOfTimeAndUnique(t *testing.T) {
	w, _ := assemble(t, true, rows(3)...)
	records := w.logs(0, len(w.records)).ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
	require.Equal(t, len(w.records), records.Len())
	require.Greater(t, records.Len(), 100)
	seen := map[string]bool{}
	last := records.At(0).Timestamp()
	for _, lr := range records.All() {
		assert.GreaterOrEqual(t, lr.Timestamp(), last)
		last = lr.Timestamp()
		assert.False(t, seen[lr.Body().Str()], "two records with the line %s", lr.Body().Str())
		seen[lr.Body().Str()] = true
		// Loki takes 128 entries of structured metadata.
		assert.LessOrEqual(t, lr.Attributes().Len(), 40)
	}
}
