package trail

import (
	"regexp"
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
	assert.Equal(t, ` |= "v1 deny " |= " 80/" or " 443/" | source_service_identity="web" | destination_service_identity=~"pay.*|a\\.b"`, f.ofFlows())
	assert.Equal(t, ` |= " web -> " or " * -> " or "closed " |= " 80/" or " 443/" or " * -> " or "closed " |= " deny " or " * -> " or "closed "`, f.ofRollups())
	f = &Filter{PeersOf: []string{"web"}, Namespaces: []string{"n"}, External: true, Unattributed: true, StagedDenied: true}
	assert.Equal(t, ` | source_service_identity="web" or destination_service_identity="web"`+
		` | source_service_identity=~"(networkset:)?n(/.*)?" or destination_service_identity=~"(networkset:)?n(/.*)?"`+
		` | calico_policy_egress_pending!="" or calico_policy_ingress_pending!=""`+
		` | source_service_identity=~"internet|private|networkset:.*" or destination_service_identity=~"internet|private|networkset:.*"`+
		` | source_service_identity=~".*[?]|" or destination_service_identity=~".*[?]|"`, f.ofFlows())
	assert.Empty(t, (&Filter{}).ofFlows())
	assert.Empty(t, (&Filter{}).ofRollups())
}

func TestNamespaceOf(t *testing.T) {
	for identity, want := range map[string]string{"payments": "payments", "monitoring/grafana": "monitoring", "networkset:payments/x": "payments", "networkset:payments": "", "host:payments": ""} {
		assert.Equal(t, want, namespaceOf(identity), identity)
	}
}

// Namespaces are globs, and LogQL leaves out nothing that they want.
func TestNamespaces(t *testing.T) {
	identities := []string{"", "?", "payments", "monitoring", "monitoring/grafana", "monitoring/?", "money", "networkset:payments/cards", "networkset:monitoring", "host:monitoring", "internet", "a.b/c", "axb"}
	for _, tt := range []struct {
		namespaces []string
		want       []string
	}{
		{[]string{"payments"}, []string{"payments", "networkset:payments/cards"}},
		{[]string{"mon*"}, []string{"monitoring", "monitoring/grafana", "monitoring/?", "money"}},
		{[]string{"*oring", "money"}, []string{"monitoring", "monitoring/grafana", "monitoring/?", "money"}},
		{[]string{"a.b"}, []string{"a.b/c"}},
		{[]string{"*"}, []string{"?", "payments", "monitoring", "monitoring/grafana", "monitoring/?", "money", "networkset:payments/cards", "internet", "a.b/c", "axb"}},
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
		require.NoError(t, l.add(coverageEntry(write)))
	}
	l.whole = []interval{{1080, 1110}}
	c := l.coverage(960, 1380, 975, 1455)
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	assert.Equal(t, Coverage{
		From: at(960), To: at(1380), WindowSeconds: 15,
		Windows: 24, Complete: 3, Partial: 1, Missing: 3, Unrecorded: 17, Before: 1, Pending: 3, Percent: 12.5,
		Holes: []Hole{
			{at(960), at(975), StatusBefore, "", 1},
			{at(975), at(990), StatusUnrecorded, "", 1},
			{at(1005), at(1020), flowlog.StatusPartial, flowlog.CauseRejected, 1},
			{at(1020), at(1065), flowlog.StatusMissing, flowlog.CauseRingOverrun, 3},
			{at(1065), at(1080), StatusUnrecorded, "", 1},
			{at(1110), at(1335), StatusUnrecorded, "", 15},
			{at(1335), at(1380), StatusPending, "", 3},
		},
	}, c)
	require.Error(t, l.add(&Entry{Line: "hello"}))
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
	assert.Equal(t, []UnclearEdge{{edge("rare", "allow", 20), "before", 20}}, a.Unclear)
	assert.Equal(t, []VerdictChange{
		{"both", "x", 1, "tcp", []string{"allow"}, []string{"allow", "deny"}, []string{"deny"}},
		{"turned", "x", 1, "tcp", []string{"allow"}, []string{"deny"}, []string{"deny"}},
	}, a.Changed)
	assert.Equal(t, 2, a.Same)

	// A time four times as long has four times the occasions.
	holed.To = time.Unix(7200+4*3600, 0)
	a = diff("c", []Edge{edge("rare", "allow", 5), edge("gone", "allow", 6)}, nil, hour, holed)
	assert.Equal(t, []string{"gone"}, names(a.Vanished))
}
