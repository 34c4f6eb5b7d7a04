package flowlog

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

func denied() Flow {
	return Flow{
		Source:            Endpoint{Type: TypeWorkload, Namespace: "payments", Name: "api-7d9c-*", Labels: []Label{{"app", "api"}}},
		Destination:       Endpoint{Type: TypeWorkload, Namespace: "monitoring", Name: "grafana-*"},
		Transport:         "tcp",
		Port:              3000,
		Service:           Service{Namespace: "monitoring", Name: "grafana", PortName: "http", Port: 80},
		Action:            ActionDeny,
		SourceAction:      ActionAllow,
		DestinationAction: ActionDeny,
		Reporter:          ReporterBoth,
		Counts:            true,
		Deciding:          "np:default/monitoring/deny-all#eot=deny",
		Egress:            "profile:kns.payments#0=allow",
		Ingress:           "gnp:security/quarantine#2=pass,np:default/monitoring/deny-all#eot=deny",
		IngressPending:    "staged-np:default/monitoring/allow-api#0=allow",
		Start:             1700000010,
		End:               1700000025,
		Counters:          Counters{SourcePackets: 3, SourceBytes: 180, ConnectionsStarted: 1},
	}
}

func TestLine(t *testing.T) {
	tests := map[string]struct {
		change func(*Flow)
		want   string
	}{
		"a denial that both sides reported": {
			func(*Flow) {},
			"v2 deny payments/api-7d9c-* -> monitoring/grafana-* 3000/tcp both,allow/deny 1/0/0 3/180 0/0 9vf",
		},
		"nothing known": {
			func(f *Flow) {
				*f = Flow{Source: Endpoint{Type: TypeNetwork, Name: NetworkPublic}, Destination: Endpoint{Type: TypeNetwork, Name: NetworkPrivate}}
			},
			"v2 - internet -> private -/- - 0/0 0/0 0/0 Lyw uncounted",
		},
		"what is in no sum": {
			func(f *Flow) { f.Counts = false },
			"v2 deny payments/api-7d9c-* -> monitoring/grafana-* 3000/tcp both,allow/deny 1/0/0 3/180 0/0 9vf uncounted",
		},
		"unconfirmed, of two rows, and late": {
			func(f *Flow) {
				f.Action, f.DestinationAction, f.Reporter = ActionUnconfirmed, "", ReporterSource
				f.Deciding = f.Egress
				f.Split, f.Late = 2, true
			},
			"v2 unconfirmed payments/api-7d9c-* -> monitoring/grafana-* 3000/tcp src 1/0/0 3/180 0/0 9vf split:2 late",
		},
		"denied by what the destination's node said in a window beside it": {
			func(f *Flow) {
				f.DestinationAction, f.Reporter, f.Ingress, f.IngressPending, f.Deciding = "", ReporterSource, "", "", ""
			},
			"v2 deny payments/api-7d9c-* -> monitoring/grafana-* 3000/tcp src,allow/- 1/0/0 3/180 0/0 CA5",
		},
		"host, network set, ICMP": {
			func(f *Flow) {
				*f = Flow{Source: Endpoint{Type: TypeHost, Name: "node-1"}, Destination: Endpoint{Type: TypeNetworkSet, Namespace: "payments", Name: "banks"}, Transport: "icmp", Action: ActionAllow, SourceAction: ActionAllow, Reporter: ReporterSource}
				f.ICMP = 8<<8 | 1 + 1
			},
			"v2 allow host:node-1 -> networkset:payments/banks 8.1/icmp src 0/0 0/0 0/0 Lyw uncounted",
		},
		"a global network set and a type nobody knows": {
			func(f *Flow) {
				*f = Flow{Source: Endpoint{Type: TypeNetworkSet, Name: "office"}, Destination: Endpoint{Type: "type-9", Name: "a/b"}, Transport: "132", Port: 5}
			},
			"v2 - networkset:office -> type-9:-/a/b 5/132 - 0/0 0/0 0/0 Lyw uncounted",
		},
		"blanks cannot forge a field": {
			func(f *Flow) {
				*f = Flow{Source: Endpoint{Type: TypeWorkload, Namespace: "a/b:c", Name: "x -> y\n"}, Destination: Endpoint{Type: TypeHost, Name: "100%"}}
			},
			"v2 - a%2Fb%3Ac/x%20->%20y%0A -> host:100%25 -/- - 0/0 0/0 0/0 Lyw uncounted",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := denied()
			test.change(&f)
			line, _ := f.AppendLine(nil)
			assert.Equal(t, test.want, string(line))
			back := parsed(t, string(line), &f)
			f.Start, f.End, f.Source.Labels = 0, 0, nil // not in the line
			assert.Equal(t, f, back)
		})
	}
}

// parsed is the flow of a line and of the attributes that f has.
func parsed(t *testing.T, line string, f *Flow) Flow {
	t.Helper()
	back, err := ParseLine(line)
	require.NoError(t, err, "%s", line)
	lr := plog.NewLogRecord()
	f.WriteTo(lr, line, 0)
	require.NoError(t, back.ParseAttributes(func(attribute string) string {
		value, _ := lr.Attributes().Get(attribute)
		return value.Str()
	}))
	return back
}

// Every flow comes back from its line, and only equal keys have equal hashes.
func TestLineRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"", "staged-np", "payments", "api-*", "a b", "a,b", "%", "a/b", "a:b", "x#y=z", "ä\x00\x7f", "->"}
	pick := func() string { return words[r.IntN(len(words))] }
	types := []string{TypeWorkload, TypeHost, TypeNetworkSet, TypeNetwork, "type-7"}
	trace := func() string {
		var b []byte
		for range r.IntN(3) {
			if len(b) > 0 {
				b = append(b, ',')
			}
			b = AppendHit(b, &Hit{Kind: pick(), Tier: pick(), Namespace: pick(), Name: pick(), Rule: r.Int64N(3) - 1, Action: pick()})
		}
		return string(b)
	}
	action := func() string { return []string{"", ActionAllow, ActionDeny, ActionUnconfirmed}[r.IntN(4)] }
	keys := map[uint64]Flow{}
	for range 20_000 {
		f := Flow{
			Source:            Endpoint{Type: types[r.IntN(len(types))], Namespace: pick(), Name: pick()},
			Destination:       Endpoint{Type: types[r.IntN(len(types))], Namespace: pick(), Name: pick()},
			Transport:         pick(),
			Port:              r.Int64N(3),
			Action:            action(),
			SourceAction:      action(),
			DestinationAction: action(),
			Reporter:          []string{"", ReporterSource, ReporterDestination, ReporterBoth}[r.IntN(4)],
			Service:           Service{Namespace: pick(), Name: pick(), PortName: pick(), Port: r.Int64N(3)},
			Egress:            trace(), Ingress: trace(), EgressPending: trace(), IngressPending: trace(),
			Late: r.IntN(2) == 0, Counts: r.IntN(2) == 0, Split: []int{0, 2, 17}[r.IntN(3)],
			Counters: Counters{r.Int64(), -r.Int64(), r.Int64(), r.Int64(), r.Int64(), r.Int64(), r.Int64()},
		}
		if f.Port == 0 && r.IntN(2) == 0 {
			f.ICMP = r.Int32N(1<<16) + 1
		}
		f.Deciding = f.DecidingHit()
		f.StagedEnforced = HasStagedHit(f.Egress) || HasStagedHit(f.Ingress)
		line, key := f.AppendLine(nil)
		require.Equal(t, f, parsed(t, string(line), &f), "%s", line)

		f.Counters, f.Late, f.Counts, f.Split = Counters{}, false, false, 0
		if other, ok := keys[key]; ok {
			require.Equal(t, other, f, "two keys with one hash")
		}
		keys[key] = f
	}
}

func TestKeyHashDoesNotDependOnTheCounters(t *testing.T) {
	a, b := denied(), denied()
	b.Counters, b.Late, b.Counts, b.Split = Counters{SourceBytes: 99, ConnectionsLive: 7}, true, false, 2
	_, x := a.AppendLine(nil)
	_, y := b.AppendLine([]byte("something before it"))
	assert.Equal(t, x, y)
	b.IngressPending = ""
	_, y = b.AppendLine(nil)
	assert.NotEqual(t, x, y, "the traces after the counters are part of the key")
}

func TestParseLineRefuses(t *testing.T) {
	f := denied()
	b, _ := f.AppendLine(nil)
	line := string(b)
	for what, bad := range map[string]string{
		"nothing":             "",
		"a torn line":         line[:len(line)/2],
		"one field more":      line + " x",
		"another version":     strings.Replace(line, "v2 ", "v3 ", 1),
		"no version":          strings.TrimPrefix(line, "v2 "),
		"half a split":        line + " split:1",
		"marks out of order":  line + " late uncounted",
		"another arrow":       strings.Replace(line, " -> ", " => ", 1),
		"half the verdicts":   strings.Replace(line, "allow/deny", "allow", 1),
		"one connection":      strings.Replace(line, " 1/0/0 ", " 1 ", 1),
		"four connections":    strings.Replace(line, " 1/0/0 ", " 1/0/0/0 ", 1),
		"three counters":      strings.Replace(line, " 3/180 ", " 3/180/1 ", 1),
		"a counter in words":  strings.Replace(line, " 3/180 ", " three/180 ", 1),
		"a port in words":     strings.Replace(line, "3000/tcp", "http/tcp", 1),
		"no transport":        strings.Replace(line, "3000/tcp", "3000", 1),
		"half an endpoint":    strings.Replace(line, "payments/api-7d9c-*", "payments", 1),
		"a broken escape":     strings.Replace(line, "payments/", "pay%2/", 1),
		"an escape cut short": strings.Replace(line, "api-7d9c-*", "api%2", 1),
	} {
		_, err := ParseLine(bad)
		require.ErrorIs(t, err, ErrNotALine, what)
	}
}

// What differs in the policies or the Service alone is another record: another line, and
// another key.
func TestLineTellsApartWhatIsNotInIt(t *testing.T) {
	f := denied()
	lines, keys := map[string]bool{}, map[uint64]bool{}
	for _, change := range []func(){
		func() {}, func() { f.Egress += ",x" }, func() { f.Ingress += ",x" }, func() { f.EgressPending += ",x" },
		func() { f.IngressPending += ",x" }, func() { f.Service.Name += "x" }, func() { f.Service = Service{} },
	} {
		change()
		line, key := f.AppendLine(nil)
		assert.False(t, lines[string(line)], "%s", line)
		lines[string(line)], keys[key] = true, true
	}
	assert.Len(t, keys, len(lines))
}

func TestParseAttributesRefuses(t *testing.T) {
	for _, bad := range []string{"grafana", "monitoring/grafana:80", "monitoring/grafana:http:x", "a%2/b:c:1"} {
		f := denied()
		require.ErrorContains(t, f.ParseAttributes(func(string) string { return bad }), FlowService, bad)
	}
}

func FuzzParseLine(f *testing.F) {
	flow := denied()
	line, _ := flow.AppendLine(nil)
	f.Add(string(line))
	f.Add("v2 - internet -> private -/- - 0/0 0/0 0/0 Lyw uncounted")
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := ParseLine(s)
		if err != nil {
			return
		}
		// What parses can be written and parses to the same.
		again, _ := parsed.AppendLine(nil)
		back, err := ParseLine(string(again))
		require.NoError(t, err, "%q from %q", again, s)
		require.Equal(t, parsed, back)
	})
}
