//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

type answeredFlows struct {
	Flows []struct {
		Window time.Time
		Source string
	}
	More     bool
	Coverage answeredCoverage
}

// pushFlows fills Loki with the flows and the coverage of the trail.
func (k *known) pushFlows(t *testing.T) {
	t.Helper()
	var flows []func(lr plog.LogRecord)
	for i := range k.flows {
		flows = append(flows, k.flows[i].write)
	}
	k.push(t, flowlog.StreamFlows, flows)
	k.push(t, flowlog.StreamCoverage, k.coverage())
}

// Of an hour of which a quarter's flow records are gone, every verb says so.
func TestCommandFlowRecordsGone(t *testing.T) {
	loki := startLoki(t, newStack(t))
	end := (time.Now().Unix() - 600) / knownWindow * knownWindow
	k := &known{url: loki.URL, cluster: newCluster(), begin: end - 3600, end: end, status: map[int64]string{}}
	for start := k.begin; start < end; start += knownWindow {
		k.status[start] = flowlog.StatusComplete
		if start >= k.begin+900 {
			k.record(start, "web", "payments", 443, flowlog.ActionAllow, flowlog.ReporterBoth, "np:default/x/allow#0=allow", 1, false)
		}
	}
	k.pushFlows(t)
	for _, r := range []struct{ from, to, gone int64 }{
		{k.begin, end, 60}, {k.begin + 600, k.begin + 1200, 20}, {k.begin, k.begin + 900, 60}, {k.begin + 900, end, 0},
	} {
		for _, verb := range [][]string{{"edges"}, {"flows", "--limit", "0"}, {"coverage"}} {
			var a struct{ Coverage answeredCoverage }
			requireSoon(t, func(context.Context) error { // until Loki shows all that it was given
				k.ask(t, &a, append(verb, "--from", rfc(r.from), "--to", rfc(r.to))...)
				if a.Coverage.Missing != r.gone {
					return fmt.Errorf("%s of %s to %s: %d missing, not %d", verb[0], rfc(r.from), rfc(r.to), a.Coverage.Missing, r.gone)
				}
				return nil
			})
			assert.Equal(t, (r.to-r.from)/knownWindow-r.gone, a.Coverage.Complete)
			for _, h := range a.Coverage.Holes {
				assert.Equal(t, "records_gone", h.Cause)
				assert.Equal(t, r.from, h.From.Unix())
			}
		}
	}
}

// Behind a hole of 20 hours the newest flows are found among 72,000 and more.
func TestCommandFlowsBehindAHole(t *testing.T) {
	loki := startLoki(t, newStack(t))
	end := (time.Now().Unix() - 20*3600) / knownWindow * knownWindow
	k := &known{url: loki.URL, cluster: newCluster(), begin: end/3600*3600 - 3*3600, end: end, status: map[int64]string{}}
	for start := k.begin; start < end; start += knownWindow {
		k.status[start] = flowlog.StatusComplete
		for i := range 100 {
			k.record(start, fmt.Sprint("team-", i), "payments", 443, flowlog.ActionAllow, flowlog.ReporterBoth, "np:default/x/allow#0=allow", 1, false)
		}
	}
	k.pushFlows(t)
	k.push(t, flowlog.StreamEdges, k.rollups(3600, 0, 0)) // flush waits for them
	k.flush(t)
	began := time.Now()
	var a answeredFlows
	k.ask(t, &a, "flows", "--since", "24h", "--limit", "1")
	t.Logf("the newest flow behind a hole: %s", time.Since(began))
	require.Len(t, a.Flows, 1)
	assert.Equal(t, end-knownWindow, a.Flows[0].Window.Unix())
	assert.True(t, a.More)
}
