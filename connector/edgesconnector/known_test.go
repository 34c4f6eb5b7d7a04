package edgesconnector

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

func TestFirstSeenIsSaidOnceEver(t *testing.T) {
	r := newRig(t).withStorage().start()
	r.give(flows(flow(0, "a", "b", src, 1), flow(0, "a", "b", src, 2), flow(1, "a", "b", src, 1)))
	r.say()
	want := flow(0, "a", "b", src, 1)
	first := []flowlog.FirstSeen{{Edge: edgeOf(&want), Start: want.Start, Deciding: want.Deciding}}
	require.Equal(t, first, r.sink.events(t))

	r.crash()
	r.start()
	r.give(flows(flow(2, "a", "b", src, 1)))
	r.say()
	r.shutdown()
	r.start()
	r.give(flows(flow(3, "a", "b", src, 1)))
	r.say()
	require.Equal(t, first, r.sink.events(t))
	r.shutdown()
}

func TestFirstSeenSurvivesACrash(t *testing.T) {
	r := newRig(t).withStorage().start()
	r.sink.setRefuse(assert.AnError)
	r.give(flows(flow(0, "a", "b", src, 1)))
	r.say()
	r.crash()
	r.sink.setRefuse(nil)
	r.start()
	r.say()
	require.Len(t, r.sink.events(t), 1)
	r.shutdown()
}

func TestLearningIsQuiet(t *testing.T) {
	r := newRig(t).withStorage()
	r.cfg.KnownEdges.Learn = time.Hour
	r.start()
	r.give(flows(flow(1, "a", "b", src, 1)))
	r.say()
	r.crash() // learning does not begin anew
	r.start()
	r.at(hourStart + 3700)
	r.give(flows(flow(hourWindows, "a", "c", src, 1), flow(hourWindows+1, "a", "d", src, 1), flow(hourWindows+1, "a", "b", src, 1)))
	r.say()
	events := r.sink.events(t)
	require.Len(t, events, 1)
	assert.Equal(t, "d", events[0].Destination, "c was seen in the last window of the first hour")
	r.shutdown()
}

func TestEdgesExpire(t *testing.T) {
	r := newRig(t)
	r.cfg.KnownEdges.Expire = 48 * time.Hour
	r.start()
	defer r.shutdown()
	hour := func(h int64, destinations ...string) {
		r.at(hourStart + (h+1)*3600)
		for _, d := range destinations {
			r.give(flows(flow(h*hourWindows, "a", d, src, 1)))
		}
		r.give(covers(h*hourWindows, (h+1)*hourWindows, flowlog.StatusComplete, true))
		r.say()
	}
	hour(0, "b", "c")
	for h := int64(1); h < 80; h++ {
		hour(h, "b")
	}
	require.Len(t, r.sink.events(t), 2)
	r.connector.mu.Lock()
	assert.Equal(t, 1, r.connector.state.Clusters[0].Edges.size(), "c is forgotten")
	r.connector.mu.Unlock()
	hour(80, "b", "c")
	require.Len(t, r.sink.events(t), 3, "c is new again")
}

func TestEdgesOverTheBoundAreOne(t *testing.T) {
	r := newRig(t)
	r.cfg.KnownEdges.Max = 10
	r.start()
	want := int64(0)
	for i := range int64(30) {
		r.give(flows(flow(0, fmt.Sprint("s", i), "b", src, 1+i)))
		want += 1 + i
	}
	denied := flow(0, "s50", "b", src, 1000)
	denied.Action = flowlog.ActionDeny
	r.give(flows(denied))
	r.say()
	assert.Len(t, r.sink.events(t), 10)

	// Room is made when the hour is over, by those that were not seen for longest.
	for h := int64(1); h < 30; h++ {
		r.at(hourStart + (h+1)*3600)
		r.give(flows(flow(h*hourWindows, "s1", "b", src, 1)))
		r.give(covers(h*hourWindows, (h+1)*hourWindows, flowlog.StatusComplete, true))
		r.say()
	}
	r.give(flows(flow(30*hourWindows-1, "s29", "b", src, 1)))
	r.say()
	assert.Len(t, r.sink.events(t), 11)
	r.shutdown()

	var bytes int64
	for in, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
		if in.start != hourStart {
			continue
		}
		if in.edge.Action == flowlog.ActionDeny {
			assert.Equal(t, flowlog.Edge{Source: "*", Destination: "*", Action: "deny"}, in.edge)
			assert.Equal(t, int64(1000), rollup.SourceBytes)
			continue
		}
		bytes += rollup.SourceBytes
	}
	assert.Equal(t, want, bytes, "nothing is dropped")
}

// An address that is a Service's, where the Service was not known yet: not the address is
// new, but the Service, and that has an event of its own.
func TestAnEdgeWithATwinIsNotNew(t *testing.T) {
	twin := func(w int64, basis string) plog.Logs {
		f := flow(w, "a", "private", src, 1+w)
		f.ServiceTwin = true
		logs := flows(f)
		logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().PutStr(flowlog.DestinationIdentityBasis, basis)
		return logs
	}
	alone := func(w int64) plog.Logs { return flows(flow(w, "a", "private", src, 1+w)) }
	network, workload := flowlog.BasisNetwork, flowlog.BasisNamespace
	for name, test := range map[string]struct {
		learn time.Duration
		logs  []plog.Logs
		want  []int64 // windows of the events
	}{
		"always with a twin":            {0, []plog.Logs{twin(0, network), twin(1, network), twin(2, network)}, nil},
		"without one later":             {0, []plog.Logs{twin(0, network), twin(1, network), alone(2), alone(3), twin(4, network)}, []int64{2}},
		"without one at first":          {0, []plog.Logs{alone(0), twin(1, network), alone(2)}, []int64{0}},
		"an end that no rule covers":    {0, []plog.Logs{twin(0, flowlog.BasisUnknown)}, nil},
		"a workload is its twin's edge": {0, []plog.Logs{twin(0, workload), alone(1)}, []int64{0}},
		"learned with a twin":           {time.Minute, []plog.Logs{twin(0, network), twin(5, network), alone(6)}, nil},
		"learned, but the record of it came late": {
			time.Minute, []plog.Logs{flows(flow(0, "x", "y", src, 1)), twin(5, network), alone(3), alone(6)}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).withStorage()
			r.cfg.KnownEdges.Learn = test.learn
			r.start()
			for _, logs := range test.logs {
				r.give(logs)
				r.crash() // what is known of twins is stored, in the journal first
				r.start()
				r.say()
				r.crash() // and in the state
				r.start()
			}
			r.shutdown()
			var got []int64
			for _, e := range r.sink.events(t) {
				got = append(got, (e.Start-hourStart)/windowLength)
			}
			assert.Equal(t, test.want, got)
			flows := int64(0)
			for _, rollup := range r.sink.rollups(t, flowlog.StreamEdges) {
				flows += rollup.Flows
			}
			assert.Equal(t, int64(len(test.logs)), flows, "all are summed up as always")
		})
	}
}

// A node that falls silent makes an unconfirmed edge of every edge into it: no news of an
// edge whose outcome is known, and news of one that nobody has seen before.
func TestASilentNodeMakesNoFirstSeen(t *testing.T) {
	unconfirmed := func(w int64, destination string) flowlog.Flow {
		f := flow(w, "a", destination, src, 1)
		f.Action = flowlog.ActionUnconfirmed
		return f
	}
	r := newRig(t).start()
	r.give(flows(flow(0, "a", "b", src, 1), unconfirmed(1, "b"), unconfirmed(1, "c")))
	r.say()
	events := r.sink.events(t)
	require.Len(t, events, 2)
	assert.Equal(t, []string{"b", "c"}, []string{events[0].Destination, events[1].Destination})
	assert.Equal(t, flowlog.ActionAllow, events[0].Action)
	assert.Equal(t, flowlog.ActionUnconfirmed, events[1].Action)
	r.shutdown()
}
