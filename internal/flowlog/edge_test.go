package flowlog

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

func toGrafana() Edge {
	return Edge{Source: "payments", Destination: "monitoring/grafana", Port: 3000, Transport: "tcp", Action: ActionAllow}
}

func rollup() Rollup {
	return Rollup{
		Edge: toGrafana(), Start: 1700000000 - 1700000000%3600, End: 1700000000 - 1700000000%3600 + 3600, Final: true, Sequence: 2,
		Sum: Sum{480, Counters{
			SourcePackets: 300, SourceBytes: 18000, DestinationPackets: 200, DestinationBytes: 90000,
			ConnectionsStarted: 12, ConnectionsCompleted: 10,
		}},
		Windows: 239, Complete: 238, Total: 240, First: 1699999215, Last: 1700002800,
		Policies: []string{"np:default/monitoring/a#0=allow", "np:default/monitoring/b#eot=allow"}, PoliciesMore: 3,
	}
}

const rollupLine = "v2 rollup 2023-11-14T22:00:00Z 2023-11-14T23:00:00Z final 2 allow payments -> monitoring/grafana 3000/tcp " +
	"flows 480 windows 239 covered 238/240 conns 12/10 sent 300/18000 back 200/90000 seen 2023-11-14T22:00:15Z 2023-11-14T23:00:00Z " +
	"by np:default/monitoring/a#0=allow,np:default/monitoring/b#eot=allow more 3"

func TestRollupRecord(t *testing.T) {
	lr := plog.NewLogRecord()
	r := rollup()
	r.WriteTo(lr)
	assert.Equal(t, rollupLine, lr.Body().Str())
	assert.Equal(t, EventRollup, lr.EventName())
	assert.Zero(t, lr.ObservedTimestamp())
	assert.Equal(t, map[string]any{
		SourceIdentity: "payments", DestinationIdentity: "monitoring/grafana", DestinationPort: int64(3000),
		NetworkTransport: "tcp", FlowAction: "allow",
		EdgeIntervalStart: int64(1699999200), EdgeIntervalEnd: int64(1700002800), EdgeFinal: true, EdgeSequence: int64(2),
		EdgeFlows: int64(480), EdgeWindows: int64(239), EdgeWindowsComplete: int64(238), EdgeWindowsTotal: int64(240),
		FlowConnectionsStarted: int64(12), FlowConnectionsCompleted: int64(10),
		FlowSourcePackets: int64(300), FlowSourceBytes: int64(18000), FlowDestinationPackets: int64(200), FlowDestinationBytes: int64(90000),
		EdgeFirst: int64(1699999215), EdgeLast: int64(1700002800),
		EdgePolicies: "np:default/monitoring/a#0=allow,np:default/monitoring/b#eot=allow", EdgePoliciesMore: int64(3),
	}, lr.Attributes().AsRaw())
}

// A rollup's time is in its interval, so that a question for the interval finds it; it is
// never ahead of what the rollup knows, since Loki refuses the future; and what comes
// later of one edge and interval is later.
func TestRollupTimestamp(t *testing.T) {
	at := func(change func(*Rollup)) time.Time {
		r, lr := rollup(), plog.NewLogRecord()
		change(&r)
		r.WriteTo(lr)
		return lr.Timestamp().AsTime()
	}
	final := at(func(*Rollup) {})
	assert.Equal(t, int64(1700002800), final.Unix()+1)
	again := at(func(r *Rollup) { r.Sequence++ })
	assert.Equal(t, final.Add(time.Nanosecond), again)
	assert.Equal(t, int64(1700002800), at(func(r *Rollup) { r.Sequence = 1e9 }).Unix()+1)
	provisional := at(func(r *Rollup) { r.Final, r.AsOf = false, 1700000010 })
	assert.Equal(t, int64(1700000010), provisional.Unix()+1)
	assert.NotEqual(t, final, at(func(r *Rollup) { r.Source = "orders" }), "edges are spread")
}

func TestParseRollup(t *testing.T) {
	for name, change := range map[string]func(*Rollup){
		"as it is":             func(*Rollup) {},
		"provisional":          func(r *Rollup) { r.Final = false },
		"no port":              func(r *Rollup) { r.Port, r.Transport = 0, "icmp" },
		"no policy":            func(r *Rollup) { r.Policies = nil },
		"nothing known":        func(r *Rollup) { r.Edge = Edge{} },
		"blanks in a name":     func(r *Rollup) { r.Source, r.Destination = "a b -> c", "100%, \n" },
		"a slash in transport": func(r *Rollup) { r.Transport = "a/b" },
		"an empty interval":    func(r *Rollup) { *r = Rollup{} },
	} {
		t.Run(name, func(t *testing.T) {
			want := rollup()
			change(&want)
			got, err := ParseRollup(string(want.AppendLine(nil)))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

func TestParseRollupRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"nothing":               "",
		"a flow's line":         deniedLine(),
		"too many fields":       rollupLine + " late",
		"another version":       strings.Replace(rollupLine, "v2 ", "v3 ", 1),
		"no version":            strings.TrimPrefix(rollupLine, "v2 "),
		"neither stage":         strings.Replace(rollupLine, "final", "settled", 1),
		"no time":               strings.Replace(rollupLine, "2023-11-14T22:00:00Z", "yesterday", 1),
		"no number":             strings.Replace(rollupLine, "flows 480", "flows many", 1),
		"a port alone":          strings.Replace(rollupLine, "3000/tcp", "3000", 1),
		"another word":          strings.Replace(rollupLine, "covered", "windows", 1),
		"an escape that is not": strings.Replace(rollupLine, "payments", "pay%2", 1),
	} {
		_, err := ParseRollup(line)
		require.ErrorIs(t, err, ErrNotARollup, name)
	}
}

func deniedLine() string {
	f := denied()
	line, _ := f.AppendLine(nil)
	return string(line)
}

func TestFirstSeenRecord(t *testing.T) {
	lr := plog.NewLogRecord()
	f := FirstSeen{Edge: toGrafana(), Start: 1700000010, End: 1700000025, Deciding: "np:default/monitoring/a#0=allow"}
	f.WriteTo(lr)
	assert.Equal(t, "v2 first_seen 2023-11-14T22:13:30Z allow payments -> monitoring/grafana 3000/tcp by np:default/monitoring/a#0=allow", lr.Body().Str())
	assert.Equal(t, EventFirstSeen, lr.EventName())
	assert.Equal(t, int64(1700000024), lr.Timestamp().AsTime().Unix(), "in its window")
	assert.Equal(t, map[string]any{
		SourceIdentity: "payments", DestinationIdentity: "monitoring/grafana", DestinationPort: int64(3000),
		NetworkTransport: "tcp", FlowAction: "allow", FlowStart: int64(1700000010), FlowEnd: int64(1700000025),
		PolicyDeciding: "np:default/monitoring/a#0=allow",
	}, lr.Attributes().AsRaw())

	got, err := ParseFirstSeen(lr.Body().Str())
	require.NoError(t, err)
	f.End = 0
	assert.Equal(t, f, got)
	_, err = ParseFirstSeen(rollupLine)
	require.ErrorIs(t, err, ErrNotFirstSeen)
}
