package trail

import (
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		glob, s string
		want    bool
	}{
		{"payments", "payments", true},
		{"payments", "payments/api", false},
		{"monitoring/*", "monitoring/grafana", true},
		{"monitoring/*", "monitoring", false},
		{"*", "", true},
		{"*-db", "orders-db", true},
		{"*-db", "orders-db2", false},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "acb", false},
		{"host:*", "host:node-1", true},
	} {
		assert.Equal(t, tt.want, glob(tt.glob, tt.s), "%s, %s", tt.glob, tt.s)
	}
}

// What Loki leaves out must be what Matches does not want.
func TestFilterAsLogQL(t *testing.T) {
	f := &Filter{Source: []string{"web"}, Destination: []string{"pay*", "a.b"}, Ports: []int64{80, 443}, Denied: true}
	assert.Equal(t, ` |= " deny " |= " 80/" or " 443/" | source_service_identity="web" | destination_service_identity=~"pay.*|a\\.b"`, f.ofFlows())
	assert.Equal(t, ` |= " web -> " or " * -> " or "closed " |= " 80/" or " 443/" or " * -> " or "closed " |= " deny " or " * -> " or "closed "`, f.ofRollups())
	f = &Filter{PeersOf: []string{"web"}, Namespaces: []string{"n"}, External: true, Unattributed: true, StagedDenied: true}
	assert.Equal(t, ` | source_service_identity="web" or destination_service_identity="web"`+
		` | source_service_identity=~"(networkset:|internal:)?n(/.*)?" or destination_service_identity=~"(networkset:|internal:)?n(/.*)?"`+
		` | calico_policy_egress_pending!="" or calico_policy_ingress_pending!=""`+
		` | source_service_identity=~"internet|private|networkset:.*" or destination_service_identity=~"internet|private|networkset:.*"`+
		` | source_service_identity=~".*[?]|" or destination_service_identity=~".*[?]|"`, f.ofFlows())
	f = &Filter{Denied: true, Unconfirmed: true}
	assert.Equal(t, ` |= " deny " or " unconfirmed "`, f.ofFlows())
	assert.Equal(t, ` |= " deny " or " unconfirmed " or " * -> " or "closed "`, f.ofRollups())
	assert.Empty(t, (&Filter{}).ofFlows())
	assert.Empty(t, (&Filter{}).ofRollups())
}

func TestNamespaceOf(t *testing.T) {
	for identity, want := range map[string]string{"payments": "payments", "monitoring/grafana": "monitoring", "networkset:payments/x": "payments", "networkset:payments": "", "internal:payments/x": "payments", "internal:payments": "", "host:payments": ""} {
		assert.Equal(t, want, namespaceOf(identity), identity)
	}
}

// Namespaces are globs, and LogQL leaves out nothing that they want.
func TestNamespaces(t *testing.T) {
	identities := []string{"", "?", "payments", "monitoring", "monitoring/grafana", "monitoring/?", "money", "networkset:payments/cards", "internal:payments/dc", "networkset:monitoring", "host:monitoring", "internet", "a.b/c", "axb"}
	for _, tt := range []struct {
		namespaces []string
		want       []string
	}{
		{[]string{"payments"}, []string{"payments", "networkset:payments/cards", "internal:payments/dc"}},
		{[]string{"mon*"}, []string{"monitoring", "monitoring/grafana", "monitoring/?", "money"}},
		{[]string{"*oring", "money"}, []string{"monitoring", "monitoring/grafana", "monitoring/?", "money"}},
		{[]string{"a.b"}, []string{"a.b/c"}},
		{[]string{"*"}, []string{"?", "payments", "monitoring", "monitoring/grafana", "monitoring/?", "money", "networkset:payments/cards", "internal:payments/dc", "internet", "a.b/c", "axb"}},
		{[]string{"mon"}, nil},
		{[]string{`x" or "" = "`, "x) | (.*"}, nil},
	} {
		f := &Filter{Namespaces: tt.namespaces}
		pattern := regexp.MustCompile(` \| source_service_identity=~("(?:[^"\\]|\\.)*") or destination_service_identity=~("(?:[^"\\]|\\.)*")$`).FindStringSubmatch(f.ofFlows())
		require.Len(t, pattern, 3, "%v: %s", tt.namespaces, f.ofFlows())
		assert.Equal(t, pattern[1], pattern[2])
		text, err := strconv.Unquote(pattern[1])
		require.NoError(t, err)
		kept := regexp.MustCompile("^(?:" + text + ")$") // as LogQL anchors
		var got []string
		for _, identity := range identities {
			if f.Matches(&flowlog.Edge{Source: identity, Destination: "host:x"}) {
				got = append(got, identity)
				assert.Regexp(t, kept, identity, "%v", tt.namespaces)
			}
		}
		assert.Equal(t, tt.want, got, "%v", tt.namespaces)
		assert.Empty(t, f.ofRollups())
	}
}

func coverageEntry(write func(plog.LogRecord)) *Entry {
	lr := plog.NewLogRecord()
	write(lr)
	return &Entry{Time: lr.Timestamp().AsTime(), Line: lr.Body().Str()}
}

func TestLedger(t *testing.T) {
	l := newLedger()
	settled := flowlog.Coverage{Start: 1005, End: 1020, Status: flowlog.StatusComplete}
	final := flowlog.Coverage{Start: 1005, End: 1020, Status: flowlog.StatusPartial, Final: true, Cause: flowlog.CauseRejected}
	first := flowlog.Coverage{Start: 990, End: 1005, Status: flowlog.StatusComplete}
	gap := flowlog.Gap{From: 1020, To: 1065, Window: 15, Cause: flowlog.CauseRingOverrun}
	for _, write := range []func(plog.LogRecord){final.WriteTo, settled.WriteTo, first.WriteTo, gap.WriteTo, gap.WriteTo} {
		l.add(coverageEntry(write))
	}
	l.whole = []interval{{1080, 1110}}
	c := l.coverage(960, 1380, 975, 1455)
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	assert.Equal(t, Coverage{
		From: at(960), To: at(1380), WindowSeconds: 15,
		Windows: 24, Complete: 3, Partial: 1, Missing: 3, Unrecorded: 17, Before: 1, Pending: 3, Provisional: 1, Percent: 12.5,
		Holes: []Hole{
			hole(960, 975, StatusBefore, "", 1),
			hole(975, 990, StatusUnrecorded, "", 1),
			hole(1005, 1020, flowlog.StatusPartial, flowlog.CauseRejected, 1),
			hole(1020, 1065, flowlog.StatusMissing, flowlog.CauseRingOverrun, 3),
			hole(1065, 1080, StatusUnrecorded, "", 1),
			hole(1110, 1335, StatusUnrecorded, "", 15),
			hole(1335, 1380, StatusPending, "", 3),
		},
	}, c)
}

// What nodes that were silent have hidden is added up over a run of windows.
func TestLedgerOfSilentNodes(t *testing.T) {
	l := newLedger()
	for start, n := range map[int64]int64{0: 3, 15: 4, 45: 5} {
		c := flowlog.Coverage{Start: start, End: start + 15, Status: flowlog.StatusPartial, Final: true, Cause: flowlog.CauseNodesSilent, Pairs: 10, OneSided: n}
		l.add(coverageEntry(c.WriteTo))
	}
	c := flowlog.Coverage{Start: 30, End: 45, Status: flowlog.StatusComplete, Final: true, Pairs: 10, OneSided: 1}
	l.add(coverageEntry(c.WriteTo))
	holes := l.coverage(0, 60, 0, 10000).Holes
	require.Len(t, holes, 2)
	assert.Equal(t, []int64{2, 20, 7}, []int64{holes[0].Windows, holes[0].Pairs, holes[0].OneSided})
	assert.Equal(t, []int64{1, 10, 5}, []int64{holes[1].Windows, holes[1].Pairs, holes[1].OneSided})
}

// Lines of another version are counted once each, and make their windows what they are:
// without a record that can be read, or with a part of it.
func TestLedgerOfAnotherVersion(t *testing.T) {
	l := newLedger()
	for _, e := range []Entry{
		{Time: time.Unix(0, 0), Line: "window 1970-01-01T00:00:00Z 1970-01-01T00:00:15Z complete settled cause - flows 1"},
		{Time: time.Unix(0, 0), Line: "window 1970-01-01T00:00:00Z 1970-01-01T00:00:15Z complete final cause - flows 1"},
		{Time: time.Unix(0, 0), Line: "window 1970-01-01T00:00:00Z 1970-01-01T00:00:15Z complete final cause - flows 1"},
		{Time: time.Unix(15, 0), Line: "gap 1970-01-01T00:00:15Z 1970-01-01T00:00:30Z missing final cause x windows 1"},
		{Time: time.Unix(30, 0), Line: "v1 gap 1970-01-01T00:00:30Z 1970-01-01T00:00:45Z missing final cause x windows 7"},
		{Time: time.Unix(45, 0), Line: flowlog.Version + " gap 1970-01-01T00:00:45Z 1970-01-01T00:01:00Z missing final cause x windows 700"},
	} {
		l.add(&e)
	}
	// The collector was upgraded between the two listings of the window at 60.
	l.add(&Entry{Time: time.Unix(60, 0), Line: "window settled"})
	for start := int64(60); start < 105; start += 15 {
		l.add(coverageEntry((&flowlog.Coverage{Start: start, End: start + 15, Status: flowlog.StatusComplete, Final: true}).WriteTo))
	}
	l.lacks(77, 3)
	c := l.coverage(0, 105, 0, 10000)
	assert.Equal(t, []Hole{
		hole(0, 60, StatusUnrecorded, CauseVersion, 4),
		hole(60, 90, flowlog.StatusPartial, CauseVersion, 2),
	}, c.Holes)
	assert.Equal(t, int64(6+3), c.Unreadable)
	assert.Equal(t, int64(1), c.Complete)
}

func TestBand(t *testing.T) {
	for _, tt := range []struct {
		seen, slots, windows int64
		want                 string
	}{
		{8, 10, 5, BandStable}, {7, 10, 5000, BandRecurring}, {1, 10, 5000, BandOneOff}, {4, 10, 4, BandOneOff}, {1, 1, 100, BandStable},
	} {
		assert.Equal(t, tt.want, band(tt.seen, tt.slots, tt.windows), "%+v", tt)
	}
}

func TestDiff(t *testing.T) {
	edge := func(source, action string, windows int64) Edge {
		return Edge{Source: source, Destination: "x", Port: 1, Transport: "tcp", Action: action, Totals: Totals{Windows: windows}, Policies: []string{action}}
	}
	hour := Coverage{From: time.Unix(0, 0), To: time.Unix(3600, 0), Windows: 240, Complete: 240}
	holed := Coverage{From: time.Unix(7200, 0), To: time.Unix(10800, 0), Windows: 240, Complete: 220, Missing: 20}
	before := []Edge{edge("same", "allow", 9), edge("gone", "allow", 21), edge("rare", "allow", 20), edge("turned", "allow", 100), edge("both", "allow", 100)}
	after := []Edge{edge("same", "allow", 9), edge("new", "allow", 1), edge("turned", "deny", 100), edge("both", "allow", 100), edge("both", "deny", 1)}
	a := diff("c", before, after, hour, holed)
	names := func(edges []Edge) (list []string) {
		for i := range edges {
			list = append(list, edges[i].Source)
		}
		return list
	}
	assert.Equal(t, []string{"new"}, names(a.Appeared), "nothing lacks before")
	assert.Equal(t, []string{"gone"}, names(a.Vanished))
	assert.Equal(t, []UnclearEdge{{edge("rare", "allow", 20), "before", 20, false}}, a.Unclear)
	assert.Equal(t, []VerdictChange{
		{"both", "x", 1, "tcp", []string{"allow"}, []string{"allow", "deny"}, []string{"deny"}},
		{"turned", "x", 1, "tcp", []string{"allow"}, []string{"deny"}, []string{"deny"}},
	}, a.Changed)
	assert.Equal(t, 2, a.Same)

	// Windows that will be looked at again may get the edge yet.
	recent := Coverage{From: time.Unix(7200, 0), To: time.Unix(10800, 0), Windows: 240, Complete: 240, Provisional: 20}
	assert.Len(t, diff("c", before[2:3], nil, hour, recent).Unclear, 1)

	// A time four times as long has four times the occasions.
	holed.To = time.Unix(7200+4*3600, 0)
	a = diff("c", []Edge{edge("rare", "allow", 5), edge("gone", "allow", 6)}, nil, hour, holed)
	assert.Equal(t, []string{"gone"}, names(a.Vanished))
}

// A node that falls silent makes no edges of known ones.
func TestNewSince(t *testing.T) {
	edge := func(source, action string, first int64) Edge {
		return Edge{Source: source, Destination: "x", Port: 1, Transport: "tcp", Action: action, Totals: Totals{First: time.Unix(first, 0)}}
	}
	edges := []Edge{
		edge("known", flowlog.ActionAllow, 10), edge("known", flowlog.ActionUnconfirmed, 100), edge("known", flowlog.ActionDeny, 100),
		edge("new", flowlog.ActionUnconfirmed, 100), edge("confirmed", flowlog.ActionUnconfirmed, 10), edge("confirmed", flowlog.ActionAllow, 100),
	}
	assert.Equal(t, []Edge{edges[2], edges[3], edges[5]}, newSince(slices.Clone(edges), time.Unix(50, 0)))
}

// A verdict that is unconfirmed is no other verdict, and one that may be among what is
// unconfirmed has not vanished.
func TestDiffOfUnconfirmedVerdicts(t *testing.T) {
	const allow, deny, unconfirmed = flowlog.ActionAllow, flowlog.ActionDeny, flowlog.ActionUnconfirmed
	whole := Coverage{From: time.Unix(0, 0), To: time.Unix(3600, 0), Windows: 240, Complete: 240}
	edges := func(actions []string) (list []Edge) {
		for _, action := range actions {
			list = append(list, Edge{Source: "a", Destination: "b", Port: 1, Transport: "tcp", Action: action, Totals: Totals{Windows: 100}})
		}
		return list
	}
	for _, tt := range []struct {
		before, after []string
		unclear       []string
		changed, same int
		appeared      int
	}{
		{before: []string{allow}, after: []string{unconfirmed}, unclear: []string{"before allow", "after unconfirmed"}},
		{before: []string{unconfirmed}, after: []string{deny}, unclear: []string{"after deny", "before unconfirmed"}},
		{before: []string{allow}, after: []string{allow, unconfirmed}, unclear: []string{"after unconfirmed"}, same: 1},
		{before: []string{allow, unconfirmed}, after: []string{unconfirmed}, unclear: []string{"before allow"}, same: 1},
		{before: []string{unconfirmed}, after: []string{unconfirmed}, same: 1},
		{before: []string{allow}, after: []string{deny, unconfirmed}, unclear: []string{"before allow", "after unconfirmed"}, changed: 1},
		{after: []string{unconfirmed}, appeared: 1},
	} {
		a := diff("c", edges(tt.before), edges(tt.after), whole, whole)
		var unclear []string
		for _, e := range a.Unclear {
			assert.True(t, e.Unconfirmed)
			unclear = append(unclear, e.Seen+" "+e.Action)
		}
		assert.Equal(t, tt.unclear, unclear, "%+v", tt)
		assert.Len(t, a.Changed, tt.changed, "%+v", tt)
		assert.Equal(t, tt.same, a.Same, "%+v", tt)
		assert.Len(t, a.Appeared, tt.appeared, "%+v", tt)
		assert.Empty(t, a.Vanished)
	}
}
