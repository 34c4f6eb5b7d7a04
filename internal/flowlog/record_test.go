package flowlog

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

func TestWriteTo(t *testing.T) {
	f := denied()
	f.Source.Labels = []Label{{"app", "api"}, {"odd", ""}, {"url", "a=b"}}
	line, key := f.AppendLine(nil)
	lr := plog.NewLogRecord()
	f.WriteTo(lr, string(line), key)

	assert.Equal(t, string(line), lr.Body().Str())
	assert.Equal(t, EventName, lr.EventName())
	assert.Zero(t, lr.ObservedTimestamp(), "an observed timestamp would make repeats differ")
	assert.Equal(t, Timestamp(f.Start, f.End, key), lr.Timestamp().AsTime().Local())
	assert.Equal(t, map[string]any{
		FlowAction: "deny", FlowCounts: true, FlowSourceAction: "allow", FlowDestinationAction: "deny", FlowReporter: "both",
		NetworkTransport: "tcp", DestinationPort: int64(3000),
		SourceType: "workload", SourceNamespace: "payments", SourceName: "api-7d9c-*",
		DestinationType: "workload", DestinationNamespace: "monitoring", DestinationName: "grafana-*",
		DestinationServiceNamespace: "monitoring", DestinationServiceName: "grafana",
		DestinationServicePortName: "http", DestinationServicePort: int64(80),
		FlowService: "monitoring/grafana:http:80",
		FlowStart:   int64(1700000010), FlowEnd: int64(1700000025),
		FlowSourcePackets: int64(3), FlowSourceBytes: int64(180),
		FlowDestinationPackets: int64(0), FlowDestinationBytes: int64(0),
		FlowConnectionsStarted: int64(1), FlowConnectionsCompleted: int64(0), FlowConnectionsLive: int64(0),
		PolicyDeciding: f.Deciding, PolicyEgress: f.Egress, PolicyIngress: f.Ingress,
		PolicyIngressPending: f.IngressPending, PolicyPendingAction: "allow",
		SourceLabels: map[string]any{"app": "api", "odd": "", "url": "a=b"},
	}, lr.Attributes().AsRaw())
}

func TestWriteToLeavesOutWhatIsNotThere(t *testing.T) {
	f := Flow{Transport: "icmp", Start: 15, End: 30}
	f.SetPort(3<<8 | 4)
	lr := plog.NewLogRecord()
	f.WriteTo(lr, "", 0)
	got := lr.Attributes().AsRaw()
	for _, key := range []string{FlowStart, FlowEnd, FlowSourcePackets, FlowSourceBytes, FlowDestinationPackets, FlowDestinationBytes, FlowConnectionsStarted, FlowConnectionsCompleted, FlowConnectionsLive} {
		assert.Contains(t, got, key)
		delete(got, key)
	}
	assert.Equal(t, map[string]any{NetworkTransport: "icmp", ICMPType: int64(3), ICMPCode: int64(4), FlowCounts: false, FlowNoTraffic: true}, got)
}

func TestTimestampIsSpreadInTheWindow(t *testing.T) {
	const start = 1700000010
	for _, length := range []int64{1, 15, 3600} {
		seen := map[time.Time]int{}
		for key := range uint64(4096) {
			at := Timestamp(start, start+length, key*0x9e3779b97f4a7c15)
			assert.False(t, at.Before(time.Unix(start, 0)) || !at.Before(time.Unix(start+length, 0)), "%v", at)
			seen[at]++
		}
		assert.Greater(t, len(seen), int(min(length*200, 2000)), "of %d s", length)
	}
	assert.Equal(t, time.Unix(15, 0), Timestamp(15, 15, 99), "a window without a length")
}

// The records of a source are neighbours, and not all on one timestamp.
func TestTimestampOfASource(t *testing.T) {
	f := denied()
	seen := map[time.Time]bool{}
	var first, last time.Time
	for port := range int64(100) {
		f.Port = port + 1
		_, key := f.AppendLine(nil)
		at := Timestamp(f.Start, f.End, key)
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
		seen[at] = true
	}
	assert.Len(t, seen, 4)
	assert.Less(t, last.Sub(first), 5*time.Millisecond)
}

func TestPendingAction(t *testing.T) {
	const allow, deny, pass = "np:t/n/a#0=allow", "np:t/n/d#0=deny", "gnp:t/p#0=pass"
	for name, test := range map[string]struct {
		flow Flow
		want string
	}{
		"nothing staged":                          {Flow{Egress: allow, Ingress: allow}, ""},
		"a staged denial at the destination":      {Flow{Egress: allow, Ingress: allow, IngressPending: pass + "," + deny}, ActionDeny},
		"a staged allow lifts a denial":           {Flow{Egress: allow, Ingress: deny, IngressPending: allow}, ActionAllow},
		"the other side goes on denying":          {Flow{Egress: deny, SourceAction: ActionDeny, IngressPending: allow}, ActionDeny},
		"a side that did not report says nothing": {Flow{EgressPending: allow}, ActionAllow},
	} {
		assert.Equal(t, test.want, test.flow.PendingAction(), name)
	}
}

func TestDecidingHit(t *testing.T) {
	assert.Equal(t, "b#0=deny", DecidingHit("a#0=pass,b#0=deny", ActionDeny))
	assert.Equal(t, "a#0=allow", DecidingHit("a#0=allow,b#0=pass", ActionAllow))
	assert.Empty(t, DecidingHit("a#0=pass", ActionAllow))
	assert.Empty(t, DecidingHit("", ActionAllow))
	assert.Empty(t, DecidingHit("a#0=allow", ActionDeny), "what allowed has not denied")
	assert.Equal(t, "np:a#0=allow", DecidingHit("np:a#0=allow,staged-np:b#0=deny", ActionAllow), "staged policies decide nothing")
}

func TestDecidingHitOfAFlow(t *testing.T) {
	const allow, deny = "np:t/n/a#0=allow", "np:t/n/d#0=deny"
	for name, test := range map[string]struct {
		flow Flow
		want string
	}{
		"the destination's, where both allowed":            {Flow{Action: ActionAllow, DestinationAction: ActionAllow, Egress: "profile:p#0=allow", Ingress: allow}, allow},
		"the source's, where the destination is silent":    {Flow{Action: ActionAllow, Egress: allow}, allow},
		"none, where the destination denied next door":     {Flow{Action: ActionDeny, SourceAction: ActionAllow, Egress: allow}, ""},
		"the source's, where it is unconfirmed":            {Flow{Action: ActionUnconfirmed, SourceAction: ActionAllow, Egress: allow}, allow},
		"the destination's denial":                         {Flow{Action: ActionDeny, DestinationAction: ActionDeny, Egress: allow, Ingress: deny}, deny},
		"no other's, where the destination's is not known": {Flow{Action: ActionDeny, DestinationAction: ActionDeny, Egress: deny}, ""},
	} {
		assert.Equal(t, test.want, test.flow.DecidingHit(), name)
	}
}

// What Calico's dataplanes send for ICMP, as seen on real ones (issue 12).
func TestICMP(t *testing.T) {
	for name, test := range map[string]struct {
		transport  string
		port       int64
		kind, code uint8
		known      bool
	}{
		"a ping of the iptables dataplane":   {"icmp", 8 << 8, 8, 0, true},
		"its answer":                         {"icmp", 0, 0, 0, true},
		"port unreachable":                   {"icmp", 3<<8 | 3, 3, 3, true},
		"fragmentation needed":               {"icmp", 3<<8 | 4, 3, 4, true},
		"a ping of the eBPF dataplane":       {"icmp", 8, 8, 0, true},
		"its host unreachable":               {"icmp", 1<<8 | 3, 3, 1, true},
		"its fragmentation needed":           {"icmp", 4<<8 | 3, 3, 4, true},
		"what is in no list stays":           {"icmp", 200<<8 | 9, 200, 9, true},
		"v6, of the eBPF dataplane":          {"icmp6", 128, 128, 0, true},
		"v6 unreachable, port":               {"icmp6", 4<<8 | 1, 1, 4, true},
		"v6, of which iptables says nothing": {"icmp6", 0, 0, 0, false},
	} {
		f := Flow{Transport: test.transport}
		f.SetPort(test.port)
		assert.Zero(t, f.Port, name)
		require.Equal(t, test.known, f.ICMP != 0, name)
		if test.known {
			assert.Equal(t, [2]uint8{test.kind, test.code}, [2]uint8{f.ICMPType(), f.ICMPCode()}, name)
		}
	}
	f := Flow{Transport: "tcp"}
	f.SetPort(443)
	assert.Equal(t, int64(443), f.Port)
}

// The page that readers outside rely on names every attribute and every value.
func TestTrailFormatNamesTheVocabulary(t *testing.T) {
	page, err := os.ReadFile("../../docs/trail-format.md")
	require.NoError(t, err)
	for _, file := range []string{"attributes.go", "policy.go", "coverage.go"} {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		constants := regexp.MustCompile(`(?m)^\t\w+\s+= "([^"]+)"`).FindAllSubmatch(source, -1)
		require.NotEmpty(t, constants)
		for _, c := range constants {
			if value := string(c[1]); !strings.Contains(string(page), "`"+value+"`") {
				t.Errorf("docs/trail-format.md does not name `%s` of %s: add it to the table", value, file)
			}
		}
	}
}
