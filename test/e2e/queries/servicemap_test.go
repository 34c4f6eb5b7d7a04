//go:build e2e

package queries

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	trailreader "github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

var dotFile = flag.String("dot", "", "write the map that TestServiceMap gets to this file, for Graphviz")

// The node graph of the overview shows the demo cluster as its flow records do: the
// built Collector makes rollups of the simulator's traffic, the dashboard's query adds up
// the rollups, and the test adds up the records that they were made of.
func TestServiceMap(t *testing.T) {
	t.Parallel() // it mostly waits
	const interval, intervals = 300, 2
	s := stack.New(t.TempDir())
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	address, _, err := s.OwnLoki(t.Context(), stack.LokiOptions{Dir: filepath.Join(t.TempDir(), "loki")})
	require.NoError(t, err)
	goldmane, _, err := s.Simulator(t.Context(), stack.SimulatorOptions{Window: window * time.Second, History: 70})
	require.NoError(t, err)
	_, err = s.Collector(t.Context(), stack.CollectorOptions{
		Config: "../../../examples/local.yaml",
		Set:    []string{"receivers.goldmane.recheck_delay=0s", "connectors.edges.interval=5m"},
		Env:    map[string]string{"GOLDMANE_ENDPOINT": goldmane, "LOKI_URL": address, "K8S_CLUSTER_NAME": cluster},
	})
	require.NoError(t, err)
	// The last intervals that are over, with all of their windows settled.
	until := (time.Now().Unix() - 75) / interval * interval
	from := until - interval*intervals

	var query string
	for _, p := range dashboards(t)["overview"].Panels {
		if p.Type == "nodeGraph" {
			query = strings.NewReplacer("$cluster", cluster, "$__range", fmt.Sprintf("%ds", until-from)).Replace(p.Targets[0].Expr)
		}
	}
	require.NotEmpty(t, query)
	var want, got points
	var result []series
	require.Eventually(t, func() bool {
		var n int
		if want, n, err = mapOfRecords(t, address, from, until); err != nil || n < interval*intervals/window*500 {
			return false
		}
		_, result = askLoki(t, address, query, until, 0, 0)
		got = pointsOf(t, result)
		return maps.EqualFunc(want, got, func(a, b float64) bool { return math.Abs(a-b) < 1e-6 })
	}, time.Minute, time.Second, "the map is not what the records say")
	t.Logf("%d edges between Services", len(got))
	require.Greater(t, len(got), 250)
	if *dotFile != "" {
		require.NoError(t, os.WriteFile(*dotFile, []byte(dot(t, result)), 0o600))
	}
}

// mapOfRecords adds up the flow records that count of [from, until) by Services and outcome, and says how
// many there are.
func mapOfRecords(t *testing.T, address string, from, until int64) (points, int, error) {
	t.Helper()
	p := points{}
	n := 0
	client := trailreader.Client{URL: address}
	for e, err := range client.Entries(t.Context(), trailreader.Flows(cluster), time.Unix(from, 0), time.Unix(until, 0)) {
		if err != nil {
			return nil, 0, err
		}
		f, err := e.Flow()
		if err != nil {
			return nil, 0, err
		}
		n++
		if !f.Counts {
			continue
		}
		source, target := e.Metadata[trailreader.Label(flowlog.SourceIdentity)], e.Metadata[trailreader.Label(flowlog.DestinationIdentity)]
		p.add(0, labels{"id": source + " " + target + " " + f.Action, "source": source, "target": target, "color": colorOf(f.Action)},
			float64(f.SourceBytes+f.DestinationBytes)/1e6)
	}
	return p, n, nil
}
