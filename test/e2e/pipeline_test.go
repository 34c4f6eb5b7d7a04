//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

// Every window that Goldmane serves is in Loki, with as many records as its coverage says and
// its flows make: those of the past that it held when the Collector started, and live ones.
func TestPipeline(t *testing.T) {
	s := newStack(t)
	loki := startLoki(t, s)
	addr, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window, History: 40, Calm: true})
	require.NoError(t, err)
	served, err := stack.Dial(addr, stack.TLSFiles{}, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, served.Close()) })

	for _, merged := range []bool{true, false} {
		t.Run(fmt.Sprint("merge_reporters ", merged), func(t *testing.T) {
			t.Parallel() // most of it is waiting
			cluster := newCluster()
			begin := time.Now().Unix()
			_, err := s.Collector(t.Context(), stack.CollectorOptions{
				Config: examples + "local.yaml",
				Set: append(slices.Clone(fastWindows), "receivers.goldmane.recheck_delay=12s",
					fmt.Sprint("receivers.goldmane.merge_reporters=", merged)),
				Env: map[string]string{"GOLDMANE_ENDPOINT": addr, "LOKI_URL": loki.URL, "K8S_CLUSTER_NAME": cluster},
			})
			require.NoError(t, err)

			// The simulator's history begins 40 windows before it started; from 20
			// before now on, each has its flows. The last five begin after the Collector.
			total, compared := 0, 0
			for start := begin - 20; start < begin+5; start++ {
				c := requireFinal(t, loki, cluster, start)
				flows, entries := requireWindow(t, served, loki, cluster, start, merged)
				total += len(entries)
				checkEntries(t, start, cluster, entries)
				// What has counted on is handed on where keys came late as well.
				if !merged && (c.Raised == 0 || c.Late > 0) && c.Flows == int64(len(flows)) {
					checkFields(t, flows, entries)
					compared++
				}
			}
			t.Logf("%d records in 25 windows, as many as their coverage says; %d were held against Goldmane's flows", total, compared)
			assert.Greater(t, total, 1000, "the simulated cluster has more traffic than this")
			assert.True(t, merged || compared > 12, "in only %d windows nothing had counted on", compared)
		})
	}
}

// requireFinal waits for the last word on a window.
func requireFinal(t *testing.T, loki *trail.Client, cluster string, start int64) (c flowlog.Coverage) {
	t.Helper()
	requireSoon(t, func(ctx context.Context) (err error) {
		var there bool
		c, there, err = stack.Covered(ctx, loki, cluster, start)
		if err == nil && (!there || !c.Final) {
			err = fmt.Errorf("window %d has no final coverage record", start)
		}
		return err
	})
	return c
}

// requireWindow waits until Loki holds as many records of a window as its coverage says, and
// its flows can make.
func requireWindow(t *testing.T, g *stack.Goldmane, loki *trail.Client, cluster string, start int64, merged bool) ([]*goldmane.Flow, []trail.Entry) {
	t.Helper()
	var flows []*goldmane.Flow
	var entries []trail.Entry
	requireSoon(t, func(ctx context.Context) (err error) {
		if time.Since(time.Unix(start, 0)) < settle+reach*window {
			return fmt.Errorf("window %d cannot be decided yet", start)
		}
		if flows, err = g.Window(ctx, start, start+1); err != nil {
			return err
		}
		c, there, err := stack.Covered(ctx, loki, cluster, start)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("window %d has no coverage record", start)
		}
		if entries, err = read(ctx, loki, cluster, start, start+1); err != nil {
			return err
		}
		entries = withoutLateTwins(entries)
		if err := stack.CheckRecords(&c, flows, merged, len(entries)); err != nil {
			return fmt.Errorf("window %d: %w", start, err)
		}
		return nil
	})
	require.NotEmpty(t, flows, "Goldmane has no flows of the window %d", start)
	return flows, entries
}

// withoutLateTwins leaves out the records that are there without the mark "late" too.
func withoutLateTwins(entries []trail.Entry) []trail.Entry {
	type record struct {
		at   time.Time
		line string
	}
	there := make(map[record]bool, len(entries))
	for _, e := range entries {
		there[record{e.Time, e.Line}] = true
	}
	return slices.DeleteFunc(entries, func(e trail.Entry) bool {
		line, late := strings.CutSuffix(e.Line, " late")
		return late && there[record{e.Time, line}]
	})
}

// checkEntries checks what is so for every record: what the shipped configuration
// leaves of a record, and nothing besides.
func checkEntries(t *testing.T, start int64, cluster string, entries []trail.Entry) {
	t.Helper()
	always := []string{"destination_service_identity", "source_service_identity"}
	times := map[time.Time]struct{}{}
	for _, e := range entries {
		require.Equal(t, map[string]string{"service_name": "goldmane-flows", "k8s_cluster_name": cluster}, e.Stream)
		keys := slices.Sorted(maps.Keys(e.Metadata))
		// Loki adds detected_level, by default, to whatever has no severity.
		keys = slices.DeleteFunc(keys, func(key string) bool {
			return key == "detected_level" || key == "calico_flow_service" || strings.HasPrefix(key, "calico_policy_")
		})
		require.Equal(t, always, keys, "structured metadata of %q", e.Line)
		flow, err := e.Flow()
		require.NoError(t, err)
		// What the other end decided is not in a record of one end's.
		if flow.DestinationAction != "" || flow.SourceAction == flow.Action {
			require.NotEmpty(t, flow.Deciding, "of %q with %v", e.Line, e.Metadata)
		}
		require.Equal(t, start, e.Time.Unix(), "the window of %q", e.Line)
		times[e.Time] = struct{}{}
	}
	assert.Greater(t, len(times), len(entries)/10, "the timestamps of a window are not spread")
}

// row is what both a flow of Goldmane and its record say, in the record's words.
type row struct {
	source, destination string
	transport           string
	port                int64
	verdict, reporter   string
	service             string
}

// checkFields compares flow by flow, with a translation of its own. Without merged
// reporters every flow is a record, but that flows which differ in their policies only are
// one: those with equal counters are one traffic, others are added.
func checkFields(t *testing.T, flows []*goldmane.Flow, entries []trail.Entry) {
	t.Helper()
	type counted struct {
		row
		flowlog.Counters
	}
	want, got := map[row]flowlog.Counters{}, map[row]flowlog.Counters{}
	add := func(to map[row]flowlog.Counters, r row, c flowlog.Counters) {
		sum := to[r]
		sum.Add(&c)
		sum.ConnectionsLive = 0 // is no sum
		to[r] = sum
	}
	seen := map[counted]bool{}
	for _, f := range flows {
		r, c := rowOfFlow(f)
		if !seen[counted{r, c}] {
			seen[counted{r, c}] = true
			add(want, r, c)
		}
	}
	for _, e := range entries {
		f, err := e.Flow()
		require.NoError(t, err)
		add(got, rowOfRecord(&f), f.Counters)
	}
	require.Equal(t, want, got)
}

func rowOfFlow(f *goldmane.Flow) (row, flowlog.Counters) {
	k := f.GetKey()
	r := row{
		source:      endpoint(k.GetSourceType(), k.GetSourceNamespace(), k.GetSourceName()),
		destination: endpoint(k.GetDestType(), k.GetDestNamespace(), k.GetDestName()),
		transport:   strings.ToLower(k.GetProto()),
		port:        k.GetDestPort(),
		verdict:     map[goldmane.Action]string{goldmane.Action_Allow: "allow", goldmane.Action_Deny: "deny"}[k.GetAction()],
		service:     strings.ReplaceAll(fmt.Sprint(k.GetDestServiceNamespace(), "/", k.GetDestServiceName(), ":", k.GetDestServicePort()), "-/-", "/"),
	}
	c := flowlog.Counters{
		ConnectionsStarted: f.GetNumConnectionsStarted(), ConnectionsCompleted: f.GetNumConnectionsCompleted(), ConnectionsLive: f.GetNumConnectionsLive(),
	}
	// The source's node counts as out what the destination's counts as in.
	if k.GetReporter() == goldmane.Reporter_Src {
		r.reporter = "src"
		c.SourcePackets, c.SourceBytes = f.GetPacketsOut(), f.GetBytesOut()
		c.DestinationPackets, c.DestinationBytes = f.GetPacketsIn(), f.GetBytesIn()
	} else {
		r.reporter = "dst"
		c.SourcePackets, c.SourceBytes = f.GetPacketsIn(), f.GetBytesIn()
		c.DestinationPackets, c.DestinationBytes = f.GetPacketsOut(), f.GetBytesOut()
	}
	if strings.HasPrefix(r.transport, "icmp") {
		r.port = 0
	}
	return r, c
}

func rowOfRecord(f *flowlog.Flow) row {
	return row{
		source:      cmp.Or(f.Source.Type, "?") + " " + f.Source.Namespace + "/" + f.Source.Name,
		destination: cmp.Or(f.Destination.Type, "?") + " " + f.Destination.Namespace + "/" + f.Destination.Name,
		transport:   f.Transport,
		port:        f.Port,
		verdict:     cmp.Or(f.SourceAction, f.DestinationAction), // one side's
		reporter:    f.Reporter,
		service:     fmt.Sprint(f.Service.Namespace, "/", f.Service.Name, ":", f.Service.Port),
	}
}

func endpoint(kind goldmane.EndpointType, namespace, name string) string {
	if namespace == "-" {
		namespace = ""
	}
	words := map[goldmane.EndpointType]string{
		goldmane.EndpointType_WorkloadEndpoint: "workload", goldmane.EndpointType_HostEndpoint: "host",
		goldmane.EndpointType_NetworkSet: "networkset", goldmane.EndpointType_Network: "network",
	}
	return words[kind] + " " + namespace + "/" + name
}
