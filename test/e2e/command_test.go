//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

// known is a trail whose every record the test knows: what is pushed to Loki, and, apart
// from it, what the answers must be.
type known struct {
	url, cluster string
	begin, end   int64 // seconds since the epoch
	flows        []knownFlow
	status       map[int64]string // by window: complete, partial, missing
}

type knownFlow struct {
	start int64
	edge  flowlog.Edge
	flowlog.Flow
	line string
	key  uint64
}

const knownWindow = 15

// record makes the flow record of one flow.
func (k *known) record(start int64, source, destination string, port int64, action, reporter, hit string, bytes int64, late bool) {
	f := knownFlow{start: start, edge: flowlog.Edge{Source: source, Destination: destination, Port: port, Transport: "tcp", Action: action}}
	f.Flow = flowlog.Flow{
		Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: source, Name: "pods-" + reporter + "-*"},
		Destination: flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: destination, Name: "api-*"},
		Transport:   "tcp", Port: port, Action: action, Reporter: reporter, SourceAction: flowlog.ActionAllow, DestinationAction: action,
		Deciding: hit, Ingress: hit, Start: start, End: start + knownWindow, Late: late, Counts: true,
		Counters: flowlog.Counters{SourcePackets: 3, SourceBytes: bytes, DestinationPackets: 2, DestinationBytes: bytes / 2, ConnectionsStarted: 1},
	}
	if action == flowlog.ActionUnconfirmed {
		f.DestinationAction, f.Ingress, f.Egress = "", "", hit
	}
	if destination == "staging" {
		f.IngressPending = "staged-np:default/staging/quarantine#0=deny"
	}
	line, key := f.AppendLine(nil)
	f.line, f.key = string(line), key
	k.flows = append(k.flows, f)
}

// sum is what the flows of an edge add up to, in the words of the answer.
type edgeSum struct {
	flows, windows, sent, back, first, last int64
	policies                                []string
}

// uncounted is record for one whose traffic another record counts.
func (k *known) uncounted(start int64, source, destination string, port int64, action, reporter, hit string, bytes int64) {
	k.record(start, source, destination, port, action, reporter, hit, bytes, false)
	f := &k.flows[len(k.flows)-1]
	f.Counts = false
	line, key := f.AppendLine(nil)
	f.line, f.key = string(line), key
}

// sums adds flows of [from, to) up by edge, by the rule of the trail's format: those that
// count.
func (k *known) sums(from, to int64, wanted func(f *knownFlow) bool) map[flowlog.Edge]edgeSum {
	type at struct {
		edge  flowlog.Edge
		start int64
	}
	windows := map[at][]*knownFlow{}
	for i := range k.flows {
		if f := &k.flows[i]; from <= f.start && f.start < to && f.Counts && wanted(f) {
			windows[at{f.edge, f.start}] = append(windows[at{f.edge, f.start}], f)
		}
	}
	sums := map[flowlog.Edge]edgeSum{}
	for w, flows := range windows {
		s, seen := sums[w.edge]
		if !seen {
			s.first = w.start
		}
		for _, f := range flows {
			if !slices.Contains(s.policies, f.Deciding) {
				s.policies = append(s.policies, f.Deciding)
				slices.Sort(s.policies)
			}
			s.flows++
			s.sent += f.SourceBytes
			s.back += f.DestinationBytes
		}
		s.windows++
		s.first, s.last = min(s.first, w.start), max(s.last, w.start+knownWindow)
		sums[w.edge] = s
	}
	return sums
}

// push sends records of a stream, in the order of time, as the shipped configuration does.
func (k *known) push(t *testing.T, stream string, records []func(lr plog.LogRecord)) {
	t.Helper()
	for chunk := range slices.Chunk(records, 3000) {
		logs := plog.NewLogs()
		resource := logs.ResourceLogs().AppendEmpty()
		resource.Resource().Attributes().PutStr(flowlog.ServiceName, stream)
		resource.Resource().Attributes().PutStr(flowlog.ClusterName, k.cluster)
		list := resource.ScopeLogs().AppendEmpty().LogRecords()
		for _, write := range chunk {
			write(list.AppendEmpty())
		}
		body, err := plogotlp.NewExportRequestFromLogs(logs).MarshalProto()
		require.NoError(t, err)
		// Loki's default limit of 4 MB a second is kept to by asking again.
		require.Eventually(t, func() bool {
			resp, err := http.Post(k.url+"/otlp/v1/logs", "application/x-protobuf", bytes.NewReader(body))
			if !assert.NoError(t, err) {
				return true
			}
			defer func() { _ = resp.Body.Close() }()
			answer, err := io.ReadAll(resp.Body)
			if resp.StatusCode == http.StatusTooManyRequests {
				return false
			}
			return assert.NoError(t, err) && assert.Less(t, resp.StatusCode, 300, "%s", answer)
		}, patience, pollTick)
	}
}

// flow writes the record of a flow with the attributes that the configuration keeps.
func (f *knownFlow) write(lr plog.LogRecord) {
	lr.SetTimestamp(pcommon.NewTimestampFromTime(flowlog.Timestamp(f.start, f.start+knownWindow, f.key)))
	lr.Body().SetStr(f.line)
	m := lr.Attributes()
	m.PutStr(flowlog.SourceIdentity, f.edge.Source)
	m.PutStr(flowlog.DestinationIdentity, f.edge.Destination)
	if f.Egress != "" {
		m.PutStr(flowlog.PolicyEgress, f.Egress)
	}
	if f.Ingress != "" {
		m.PutStr(flowlog.PolicyIngress, f.Ingress)
	}
	if f.IngressPending != "" {
		m.PutStr(flowlog.PolicyIngressPending, f.IngressPending)
	}
}

// rollups are those of every whole interval of a length, with what a reader must not fall
// for: an earlier rollup that knows less, a provisional one, repeats. doubtful is an
// interval whose rollups were made by a connector that came in the middle, open one whose
// rollups are half there.
func (k *known) rollups(length, doubtful, open int64) []func(lr plog.LogRecord) {
	var list []func(lr plog.LogRecord)
	for start := (k.begin + length - 1) / length * length; start+length <= k.end-600; start += length {
		complete := int64(0)
		for w := start; w < start+length; w += knownWindow {
			if k.status[w] == flowlog.StatusComplete {
				complete++
			}
		}
		var now []func(lr plog.LogRecord)
		sums := k.sums(start, start+length, func(*knownFlow) bool { return true })
		closing := flowlog.Closing{Start: start, End: start + length, Sequence: 1000, Edges: int64(len(sums)), Complete: complete, Total: length / knownWindow}
		if start == doubtful {
			closing.Complete = 7
		}
		earlier := closing
		earlier.Sequence, earlier.Edges, earlier.Complete = 900, 1, 0
		for edge, s := range sums {
			if start == open && len(now) > 0 {
				break
			}
			r := flowlog.Rollup{
				Edge: edge, Start: start, End: start + length, Final: true, Sequence: 1000, AsOf: start + length,
				Windows: s.windows, Complete: complete, Total: length / knownWindow, First: s.first, Last: s.last, Policies: s.policies,
			}
			r.Flows, r.SourceBytes, r.DestinationBytes = s.flows, s.sent, s.back
			r.SourcePackets, r.DestinationPackets, r.ConnectionsStarted = 3*s.flows, 2*s.flows, s.flows
			if start == doubtful {
				r.Complete, r.SourceBytes = 7, 1
			}
			earlier, provisional := r, r
			earlier.Sequence, earlier.SourceBytes, earlier.Flows = 900, s.sent/3, 1
			provisional.Final, provisional.Sequence, provisional.AsOf, provisional.SourceBytes = false, 950, start+length, 12345678
			for _, r := range []flowlog.Rollup{earlier, provisional, r, r} {
				now = append(now, func(lr plog.LogRecord) {
					r.WriteTo(lr)
					lr.Attributes().Clear()
				})
			}
		}
		list = append(list, now...)
		if start != open {
			for _, c := range []flowlog.Closing{closing, earlier, closing} {
				list = append(list, c.WriteTo)
			}
		}
	}
	return list
}

// coverage are the coverage and gap records of all windows.
func (k *known) coverage() []func(lr plog.LogRecord) {
	var list []func(lr plog.LogRecord)
	for start := k.begin; start < k.end; start += knownWindow {
		switch status := k.status[start]; status {
		case flowlog.StatusMissing:
			if k.status[start+knownWindow] == flowlog.StatusMissing {
				continue
			}
			g := flowlog.Gap{From: start, To: start + knownWindow, Window: knownWindow, Cause: flowlog.CauseGoldmaneRestart}
			for k.status[g.From-knownWindow] == flowlog.StatusMissing {
				g.From -= knownWindow
			}
			list = append(list, g.WriteTo)
		default:
			c := flowlog.Coverage{Start: start, End: start + knownWindow, Status: status, Flows: 9, Records: 5}
			if status != flowlog.StatusComplete {
				c.Cause = flowlog.CauseGoldmaneRestart
			}
			final := c
			final.Final = true
			list = append(list, c.WriteTo)
			for range 2 { // a repeat
				list = append(list, final.WriteTo)
			}
		}
	}
	return list
}

// newKnown makes a trail that ends at end and fills Loki with it: a full UTC day and what
// is before and after it, a gap, late flows, reports of one side only, repeats.
func newKnown(t *testing.T, url string, end int64, seed uint64) *known {
	t.Helper()
	k := &known{url: url, cluster: newCluster(), end: end / knownWindow * knownWindow, status: map[int64]string{}}
	today := end / 86400 * 86400
	k.begin = today - 86400 - 5*3600
	gap := today + (end-today)/2/knownWindow*knownWindow
	if end-today < 7200 {
		gap = today - 3600*3 + 600
	}
	rng := rand.New(rand.NewPCG(seed, 5))
	allow := "np:default/x/allow#0=allow"
	for start := k.begin; start < k.end; start += knownWindow {
		k.status[start] = flowlog.StatusComplete
		switch {
		case gap <= start && start < gap+13*knownWindow:
			k.status[start] = flowlog.StatusMissing
			continue
		case gap+13*knownWindow <= start && start < gap+16*knownWindow:
			k.status[start] = flowlog.StatusPartial
		}
		n := start / knownWindow
		k.record(start, "web", "payments", 443, flowlog.ActionAllow, flowlog.ReporterBoth, allow, 1000+rng.Int64N(1000), false)
		if n%2 == 0 {
			// The source's second report, and one of the destination's, which does not count.
			k.record(start, "web", "payments", 443, flowlog.ActionAllow, flowlog.ReporterSource, allow, 100, false)
			k.uncounted(start, "web", "payments", 443, flowlog.ActionAllow, flowlog.ReporterDestination, "np:default/x/other#1=allow", 77777)
		}
		if n%7 == 0 {
			k.record(start, "internet", "web", 80, flowlog.ActionAllow, flowlog.ReporterDestination, allow, 500+rng.Int64N(50), n%14 == 0)
		}
		if n%50 == 0 {
			k.record(start, "batch", "payments", 5432, flowlog.ActionDeny, flowlog.ReporterBoth, "np:default/payments/deny#eot=deny", 60, false)
		}
		if n%40 == 0 {
			k.record(start, "web", "staging", 8080, flowlog.ActionAllow, flowlog.ReporterBoth, allow, 10, false)
		}
		if n%55 == 0 {
			k.record(start, "web", "payments", 8443, flowlog.ActionUnconfirmed, flowlog.ReporterSource, allow, 30, false)
			k.uncounted(start, "batch", "payments", 443, flowlog.ActionDeny, flowlog.ReporterDestination, "np:default/payments/deny#eot=deny", 60)
		}
		if n%61 == 0 {
			k.record(start, "monitoring/?", "payments", 9090, flowlog.ActionAllow, flowlog.ReporterBoth, allow, 20, false)
		}
	}
	// One that was seen once, today, and one that ended before the gap.
	k.record(k.end-1200, "visitor", "payments", 22, flowlog.ActionDeny, flowlog.ReporterBoth, "np:default/payments/deny#eot=deny", 40, false)
	slices.SortStableFunc(k.flows, func(a, b knownFlow) int { return int(a.start - b.start) })

	var flows []func(lr plog.LogRecord)
	for i := range k.flows {
		flows = append(flows, k.flows[i].write)
		if i%11 == 0 {
			flows = append(flows, k.flows[i].write) // a repeat
		}
	}
	k.push(t, flowlog.StreamFlows, flows)
	k.push(t, flowlog.StreamFlows, flows[len(flows)-200:]) // and a batch that was sent again
	k.push(t, flowlog.StreamCoverage, k.coverage())
	k.push(t, flowlog.StreamEdgesQuarters, k.rollups(900, today-2*3600+900, today-3*3600+900))
	k.push(t, flowlog.StreamEdges, k.rollups(3600, today-2*3600, today-3*3600))
	k.push(t, flowlog.StreamEdgesDaily, k.rollups(86400, 0, 0))
	k.flush(t)
	return k
}

// flush makes Loki store what it holds in memory, where by default it looks for the last
// hours only, and waits until all is there.
func (k *known) flush(t *testing.T) {
	t.Helper()
	resp, err := http.Post(k.url+"/flush", "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	loki := &trail.Client{URL: k.url}
	requireSoon(t, func(ctx context.Context) error {
		entries, err := read(ctx, loki, k.cluster, k.begin, k.end)
		if err == nil && len(entries) != len(k.flows) {
			err = fmt.Errorf("Loki holds %d records of %d", len(entries), len(k.flows))
		}
		return err
	})
	for _, stream := range []string{flowlog.StreamCoverage, flowlog.StreamEdges} {
		requireSoon(t, func(ctx context.Context) error {
			for _, err := range loki.Entries(ctx, trail.Selector(stream, k.cluster), time.Unix(k.begin, 0), time.Unix(k.begin+3600, 0)) {
				return err
			}
			return fmt.Errorf("nothing in %s", stream)
		})
	}
}

// goldtrail runs the command and returns its standard output.
func goldtrail(t *testing.T, args ...string) []byte {
	t.Helper()
	program := os.Getenv("GOLDTRAIL_BIN")
	require.NotEmpty(t, program, "GOLDTRAIL_BIN is not set: run this through `make e2e`")
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "XDG_CONFIG_HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "goldtrail %s: %s", strings.Join(args, " "), &stderr)
	return out
}

// ask runs the command with --output json and reads its answer.
func (k *known) ask(t *testing.T, into any, args ...string) {
	t.Helper()
	out := goldtrail(t, append(args, "--addr", k.url, "--cluster", k.cluster, "--output", "json")...)
	require.NoError(t, json.Unmarshal(out, into))
}

type answeredCoverage struct {
	Windows, Complete, Partial, Missing, Unrecorded, Pending int64
	Holes                                                    []struct {
		From, To      time.Time
		Status, Cause string
		Windows       int64
	}
}

type answeredEdge struct {
	Source, Destination, Transport, Action string
	Port, Flows, Windows                   int64
	Sent                                   int64     `json:"sent_bytes"`
	Back                                   int64     `json:"back_bytes"`
	SentPackets                            int64     `json:"sent_packets"`
	First                                  time.Time `json:"first_seen"`
	Last                                   time.Time `json:"last_seen"`
	Policies                               []string
}

func (e *answeredEdge) edge() flowlog.Edge {
	return flowlog.Edge{Source: e.Source, Destination: e.Destination, Port: e.Port, Transport: e.Transport, Action: e.Action}
}

type answeredEdges struct {
	Edges    []answeredEdge
	Coverage answeredCoverage
	Read     struct {
		Days     int   `json:"daily_rollups"`
		Hours    int   `json:"hourly_rollups"`
		Quarters int   `json:"quarter_rollups"`
		Raw      int64 `json:"raw_seconds"`
	}
}

func rfc(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

// checkEdges holds edges against the sums of the flows.
func checkEdges(t *testing.T, want map[flowlog.Edge]edgeSum, got []answeredEdge) {
	t.Helper()
	sums := map[flowlog.Edge]edgeSum{}
	for i := range got {
		e := &got[i]
		sums[e.edge()] = edgeSum{e.Flows, e.Windows, e.Sent, e.Back, e.First.Unix(), e.Last.Unix(), e.Policies}
		assert.Equal(t, 3*e.Flows, e.SentPackets)
	}
	require.Len(t, sums, len(got), "edges are listed twice")
	require.Equal(t, want, sums)
}

// checkCoverage holds a coverage against the windows' statuses.
func (k *known) checkCoverage(t *testing.T, from, to int64, c *answeredCoverage) {
	t.Helper()
	counts := map[string]int64{}
	for start := from; start < to; start += knownWindow {
		counts[k.status[start]]++
	}
	assert.Equal(t, counts[flowlog.StatusComplete], c.Complete, "complete")
	assert.Equal(t, counts[flowlog.StatusPartial], c.Partial, "partial")
	assert.Equal(t, counts[flowlog.StatusMissing], c.Missing, "missing")
	assert.Zero(t, c.Unrecorded, "unrecorded")
}

// TestCommand holds what each verb answers from a real Loki against what the test computes
// from the records that it has pushed, with another cluster in the same Loki.
func TestCommand(t *testing.T) {
	loki := startLoki(t, newStack(t))
	end := time.Now().Unix() - 300
	k := newKnown(t, loki.URL, end, 1)
	other := newKnown(t, loki.URL, end, 2)
	hour, today := k.end/3600*3600, k.end/86400*86400
	all := func(*knownFlow) bool { return true }

	ranges := []struct {
		name     string
		from, to int64
		days     int
		raw      int64 // at most
	}{
		// Rollups are there of what ended ten minutes before the trail's end.
		{"all", k.begin, k.end, 1, 900 + 600 + 900},
		{"a day and ragged ends", today - 86400 - 3*3600 - 495, k.end - 330, 1, 495 + 900 + 600 + 900},
		{"an hour", today - 5*3600, today - 4*3600, 0, 0},
		{"a quarter", today - 4*3600 + 900, today - 4*3600 + 1800, 0, 0},
		{"some minutes", today - 4*3600 + 300, today - 4*3600 + 900, 0, 600},
		{"the doubtful hour and its neighbours", today - 3*3600, today, 0, 2 * 900},
		{"not a full hour", hour - 1800, k.end - 300, 0, 900 + 600},
	}
	for _, r := range ranges {
		t.Run("edges "+r.name, func(t *testing.T) {
			var a answeredEdges
			k.ask(t, &a, "edges", "--from", rfc(r.from), "--to", rfc(r.to))
			checkEdges(t, k.sums(r.from, r.to, all), a.Edges)
			k.checkCoverage(t, r.from, r.to, &a.Coverage)
			assert.Equal(t, r.days, a.Read.Days, "daily rollups read")
			assert.LessOrEqual(t, a.Read.Raw, r.raw, "seconds of flow records read")
			t.Logf("read: %+v", a.Read)
		})
	}
	for _, f := range []struct {
		args   []string
		wanted func(f *knownFlow) bool
	}{
		{[]string{"--dst", "payments"}, func(f *knownFlow) bool { return f.edge.Destination == "payments" }},
		{[]string{"--dst", "pay*"}, func(f *knownFlow) bool { return f.edge.Destination == "payments" }},
		{[]string{"--src", "web", "--port", "8080"}, func(f *knownFlow) bool { return f.edge.Source == "web" && f.edge.Port == 8080 }},
		{[]string{"--peers-of", "web"}, func(f *knownFlow) bool { return f.edge.Source == "web" || f.edge.Destination == "web" }},
		{[]string{"--ns", "monitoring"}, func(f *knownFlow) bool { return strings.HasPrefix(f.edge.Source, "monitoring/") }},
		{[]string{"--ns", "mon*"}, func(f *knownFlow) bool { return strings.HasPrefix(f.edge.Source, "monitoring/") }},
		{[]string{"--denied"}, func(f *knownFlow) bool { return f.Action == flowlog.ActionDeny }},
		{[]string{"--unconfirmed"}, func(f *knownFlow) bool { return f.Action == flowlog.ActionUnconfirmed }},
		{[]string{"--staged-denied"}, func(f *knownFlow) bool { return f.edge.Destination == "staging" }},
		{[]string{"--external"}, func(f *knownFlow) bool { return f.edge.Source == "internet" }},
		{[]string{"--unattributed"}, func(f *knownFlow) bool { return f.edge.Source == "monitoring/?" }},
		{[]string{"--src", "nobody"}, func(*knownFlow) bool { return false }},
	} {
		t.Run("edges "+strings.Join(f.args, " "), func(t *testing.T) {
			var a answeredEdges
			k.ask(t, &a, append([]string{"edges", "--from", rfc(k.begin), "--to", rfc(k.end)}, f.args...)...)
			checkEdges(t, k.sums(k.begin, k.end, f.wanted), a.Edges)
			k.checkCoverage(t, k.begin, k.end, &a.Coverage)
		})
	}
	t.Run("edges --new-since", func(t *testing.T) {
		var a answeredEdges
		k.ask(t, &a, "edges", "--new-since", rfc(k.end-3600), "--from", rfc(k.begin))
		require.Len(t, a.Edges, 1)
		assert.Equal(t, "visitor", a.Edges[0].Source)
	})
	t.Run("edges of the other cluster", func(t *testing.T) {
		var a answeredEdges
		other.ask(t, &a, "edges", "--from", rfc(other.begin), "--to", rfc(other.end))
		checkEdges(t, other.sums(other.begin, other.end, all), a.Edges)
	})
	t.Run("peers", func(t *testing.T) { k.checkPeers(t, k.begin, k.end) })
	t.Run("flows", func(t *testing.T) {
		from, to := today-2*3600, today-3600
		var a struct {
			Flows []struct {
				Window time.Time
				Line   string
			}
			Coverage answeredCoverage
		}
		k.ask(t, &a, "flows", "--dst", "payments", "--limit", "0", "--from", rfc(from), "--to", rfc(to))
		var want, got []string
		for _, f := range k.flows {
			if from <= f.start && f.start < to && f.edge.Destination == "payments" {
				want = append(want, rfc(f.start)+" "+f.line)
			}
		}
		for i, f := range a.Flows {
			got = append(got, rfc(f.Window.Unix())+" "+f.Line)
			require.True(t, i == 0 || !f.Window.After(a.Flows[i-1].Window), "the newest first")
		}
		require.ElementsMatch(t, want, got)
		k.checkCoverage(t, from, to, &a.Coverage)

		k.ask(t, &a, "flows", "--dst", "payments", "--limit", "3", "--from", rfc(from), "--to", rfc(to))
		require.Len(t, a.Flows, 3)
		assert.Equal(t, got[0], rfc(a.Flows[0].Window.Unix())+" "+a.Flows[0].Line)
	})
	t.Run("diff", func(t *testing.T) {
		var a struct {
			Appeared, Vanished []answeredEdge
			Unclear            []answeredEdge `json:"cannot_tell"`
			Same               int
		}
		// The visitor came, in a time of which nothing is lacking before.
		k.ask(t, &a, "diff", "--before", rfc(today-5*3600)+".."+rfc(today-4*3600), "--after", rfc(k.end-1800)+".."+rfc(k.end-300))
		require.Len(t, a.Appeared, 1)
		assert.Equal(t, "visitor", a.Appeared[0].Source)
		assert.Empty(t, a.Vanished)
	})
	t.Run("coverage", func(t *testing.T) {
		for _, r := range ranges {
			var a struct{ Coverage answeredCoverage }
			k.ask(t, &a, "coverage", "--from", rfc(r.from), "--to", rfc(r.to))
			k.checkCoverage(t, r.from, r.to, &a.Coverage)
		}
		var a struct{ Coverage answeredCoverage }
		k.ask(t, &a, "coverage", "--from", rfc(k.begin), "--to", rfc(k.end))
		require.Len(t, a.Coverage.Holes, 2)
		assert.Equal(t, int64(13), a.Coverage.Holes[0].Windows)
		assert.Equal(t, "missing", a.Coverage.Holes[0].Status)
		assert.Equal(t, "goldmane_restart", a.Coverage.Holes[0].Cause)
		assert.Equal(t, "partial", a.Coverage.Holes[1].Status)
	})
	t.Run("a cluster must be chosen", func(t *testing.T) {
		cmd := exec.Command(os.Getenv("GOLDTRAIL_BIN"), "edges", "--addr", loki.URL)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 2, exit.ExitCode())
		assert.Contains(t, string(out), "choose one with --cluster: ")
		assert.Contains(t, string(out), k.cluster)
		assert.Contains(t, string(out), other.cluster)
	})
}

func (k *known) checkPeers(t *testing.T, from, to int64) {
	t.Helper()
	var a struct {
		In, Out []struct {
			Identity, Band        string
			Slots, Flows, Windows int64
			Sent                  int64 `json:"sent_bytes"`
		}
		Slot  string
		Slots int64
	}
	k.ask(t, &a, "peers", "payments", "--from", rfc(from), "--to", rfc(to))
	assert.Empty(t, a.Out)
	hours := map[string]map[int64]bool{}
	want := map[string]edgeSum{}
	for edge, s := range k.sums(from, to, func(f *knownFlow) bool { return f.edge.Destination == "payments" }) {
		sum := want[edge.Source] // each talks by one edge
		sum.flows += s.flows
		sum.sent += s.sent
		sum.windows = max(sum.windows, s.windows)
		want[edge.Source] = sum
	}
	for _, f := range k.flows {
		if from <= f.start && f.start < to && f.Counts && f.edge.Destination == "payments" {
			if hours[f.edge.Source] == nil {
				hours[f.edge.Source] = map[int64]bool{}
			}
			hours[f.edge.Source][f.start/3600] = true
		}
	}
	require.Equal(t, "hour", a.Slot)
	all := (to+3599)/3600 - from/3600
	require.Equal(t, all, a.Slots)
	require.Len(t, a.In, len(want))
	for _, p := range a.In {
		w := want[p.Identity]
		assert.Equal(t, []int64{w.flows, w.sent, w.windows, int64(len(hours[p.Identity]))}, []int64{p.Flows, p.Sent, p.Windows, p.Slots}, p.Identity)
		band := "recurring"
		switch n := int64(len(hours[p.Identity])); {
		case p.Identity == "visitor":
			band = "one-off"
		case n*10 >= all*8:
			band = "stable"
		}
		assert.Equal(t, band, p.Band, p.Identity)
	}
}

// A cluster with 5,000 edges answers: Loki's 500 series are not met with. Half of the time
// is in rollups.
func TestCommandManyEdges(t *testing.T) {
	loki := startLoki(t, newStack(t))
	end := (time.Now().Unix() - 300) / knownWindow * knownWindow
	k := &known{url: loki.URL, cluster: newCluster(), end: end, status: map[int64]string{}}
	k.begin = end/3600*3600 - 2*3600
	n := 0
	for start := k.begin; start < end; start += knownWindow {
		k.status[start] = flowlog.StatusComplete
		for range 25 {
			k.record(start, fmt.Sprintf("team-%03d", n%100), fmt.Sprintf("service-%02d", n/100%50), 443, flowlog.ActionAllow, flowlog.ReporterBoth, "np:default/x/allow#0=allow", 1000+int64(n), false)
			n++
		}
	}
	var flows []func(lr plog.LogRecord)
	for i := range k.flows {
		flows = append(flows, k.flows[i].write)
	}
	k.push(t, flowlog.StreamFlows, flows)
	k.push(t, flowlog.StreamCoverage, k.coverage())
	k.push(t, flowlog.StreamEdges, k.rollups(3600, 0, 0))
	k.flush(t)
	want := k.sums(k.begin, end, func(*knownFlow) bool { return true })
	require.Len(t, want, 5000)
	var a answeredEdges
	k.ask(t, &a, "edges", "--from", rfc(k.begin), "--to", rfc(end))
	t.Logf("5,000 edges, read: %+v", a.Read)
	k.checkCoverage(t, k.begin, end, &a.Coverage)
	checkEdges(t, want, a.Edges)
}

// With --follow the flows of a window are shown when its coverage record is there, those
// that came late when it is there again, and what was there before is not.
func TestCommandFollow(t *testing.T) {
	loki := startLoki(t, newStack(t))
	now := time.Now().Unix() / knownWindow * knownWindow
	k := &known{url: loki.URL, cluster: newCluster(), begin: now - 600, end: now}
	pushWindow := func(start int64, final bool, flows ...knownFlow) {
		var list []func(lr plog.LogRecord)
		late := int64(0)
		for i := range flows {
			list = append(list, flows[i].write)
			if flows[i].Late {
				late++
			}
		}
		k.push(t, flowlog.StreamFlows, list)
		c := flowlog.Coverage{Start: start, End: start + knownWindow, Status: flowlog.StatusComplete, Final: final, Late: late}
		k.push(t, flowlog.StreamCoverage, []func(lr plog.LogRecord){c.WriteTo})
	}
	k.record(now-300, "old", "x", 1, flowlog.ActionAllow, flowlog.ReporterBoth, "np:default/x/allow#0=allow", 1, false)
	k.record(now-120, "new", "x", 1, flowlog.ActionDeny, flowlog.ReporterBoth, "np:default/x/deny#0=deny", 1, false)
	k.record(now-120, "other", "y", 1, flowlog.ActionAllow, flowlog.ReporterBoth, "np:default/x/allow#0=allow", 1, false)
	k.record(now-120, "straggler", "x", 1, flowlog.ActionAllow, flowlog.ReporterBoth, "np:default/x/allow#0=allow", 1, true)
	pushWindow(now-300, false, k.flows[0])

	cmd := exec.Command(os.Getenv("GOLDTRAIL_BIN"), "flows", "--follow", "--dst", "x", "--addr", k.url, "--cluster", k.cluster)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	var out, errs syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	shows := func(b *syncBuffer, text string) {
		t.Helper()
		requireSoon(t, func(context.Context) error {
			if !strings.Contains(b.String(), text) {
				return fmt.Errorf("no %q in %q", text, b.String())
			}
			return nil
		})
	}
	shows(&errs, "following")
	pushWindow(now-120, false, k.flows[1], k.flows[2])
	shows(&out, "deny  new -> x 1/tcp")
	pushWindow(now-120, true, k.flows[3])
	shows(&out, "allow straggler -> x 1/tcp")
	// Read for the first time half an hour late, and so once only.
	k.record(now-1800, "overdue", "x", 1, flowlog.ActionAllow, flowlog.ReporterBoth, "np:default/x/allow#0=allow", 1, false)
	pushWindow(now-1800, true, k.flows[4])
	shows(&out, "allow overdue -> x 1/tcp")
	gap := flowlog.Gap{From: now - 105, To: now - 75, Window: knownWindow, Cause: flowlog.CauseReceiverDown}
	k.push(t, flowlog.StreamCoverage, []func(lr plog.LogRecord){gap.WriteTo})
	shows(&errs, "no receiver ran")

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, 130, exit.ExitCode())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3, "neither what was there before, nor what is for others, nor anything twice")
	assert.True(t, strings.HasSuffix(lines[1], "  late"), lines[1])
}

// syncBuffer is written by a command and read by a test.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
