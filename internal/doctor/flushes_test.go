package doctor

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// flushingNode is a node that sends flushes of the last hour, or of history, as Felix does: every
// interval and up to a tenth more, each stamped with its start.
type flushingNode struct {
	name     string
	interval time.Duration
	keys     int
	history  time.Duration
	// open reports whether a key has a row in the flush from..to, seconds before now, and
	// whether one of its connections is open at the end; nil is always.
	open func(key int, from, to float64) (row, open bool)
}

func (n *flushingNode) flush(s *server, random *rand.Rand) {
	length := n.interval.Seconds()
	history := n.history
	if history == 0 {
		history = time.Hour
	}
	for ago := history.Seconds() + random.Float64()*length; ; {
		next := ago - length*(1+random.Float64()/10)
		if next < 0 {
			return // is still to be sent
		}
		start := s.now - int64(ago)
		start -= start % window
		for key := range n.keys {
			row, open := true, true
			if n.open != nil {
				row, open = n.open(key, ago, next)
			}
			if row {
				s.Push(n.row(key, start, open))
			}
		}
		ago = next
	}
}

func (n *flushingNode) row(key int, start int64, open bool) *goldmane.Flow {
	f := &goldmane.Flow{
		Key: &goldmane.FlowKey{
			SourceName: fmt.Sprintf("%s-%03d-*", n.name, key), SourceNamespace: "web", SourceType: goldmane.EndpointType_WorkloadEndpoint,
			DestName: "api-*", DestNamespace: "payments", DestType: goldmane.EndpointType_WorkloadEndpoint, DestPort: 443,
			Proto: "tcp", Reporter: goldmane.Reporter_Src, Action: goldmane.Action_Allow,
			// Policies that change with every flush make no other flow.
			Policies: &goldmane.PolicyTrace{EnforcedPolicies: []*goldmane.PolicyHit{{Name: fmt.Sprint(start), Action: goldmane.Action_Allow}}},
		},
		StartTime: start, EndTime: start + window, PacketsIn: 5, BytesIn: 500,
	}
	f.NumConnectionsLive = 1 // open or not: Felix counts those that it saw
	if !open {
		f.NumConnectionsCompleted = 1
	}
	return f
}

func nodes(n, keys int, interval time.Duration) []flushingNode {
	all := make([]flushingNode, n)
	for i := range all {
		all[i] = flushingNode{name: fmt.Sprintf("node%d-%v", i, interval), interval: interval, keys: keys}
	}
	return all
}

// A flush of 300 s is recognised, and is not taken for a clock that is off; one of 15 s is
// not taken for anything else, whatever the traffic.
func TestFlushInterval(t *testing.T) {
	t.Parallel()
	const normal, long = 15 * time.Second, 300 * time.Second
	seldom := wanted{Warning, "about every 300 s", "'flush_interval'"}
	usual := wanted{OK, "every 15 s or so", ""}
	hidden := wanted{Skipped, "does not show", ""}
	// every is a job that runs for 40 s once in 10 minutes.
	every := func(key int, from, to float64) (row, open bool) {
		at := func(ago float64) float64 { return float64((int(ago) + 37*key) % 600) }
		return at(to) < 40 || at(from) < 40, at(to) < 40
	}
	closed := func(int, float64, float64) (row, open bool) { return true, false }
	for _, tt := range []struct {
		name  string
		nodes []flushingNode
		want  map[string]wanted
	}{
		{"15 s", nodes(3, 20, normal), map[string]wanted{"flush interval": usual, "ring": {OK, "of the 240", ""}, "clock": {OK, "within 30 s", ""}}},
		{"300 s, one node", nodes(1, 20, long), map[string]wanted{"flush interval": seldom, "ring": hidden, "clock": hidden}},
		{"300 s, three nodes", nodes(3, 20, long), map[string]wanted{"flush interval": seldom, "ring": hidden, "clock": hidden}},
		{"300 s, forty nodes", nodes(40, 5, long), map[string]wanted{"flush interval": seldom, "clock": hidden}},
		{"300 s of one node in four", append(nodes(3, 20, normal), nodes(1, 20, long)...), map[string]wanted{"flush interval": seldom, "ring": {OK, "of the 240", ""}, "clock": {OK, "within 30 s", ""}}},
		{"60 s", nodes(3, 20, time.Minute), map[string]wanted{"flush interval": {Warning, "about every 60 s", "'flush_interval'"}}},
		{"30 s", nodes(3, 20, 30*time.Second), map[string]wanted{"flush interval": {Warning, "about every 30 s", "'flush_interval'"}}},
		{"15 s and jobs", append(nodes(1, 5, normal), flushingNode{name: "jobs", interval: normal, keys: 100, open: every}), map[string]wanted{"flush interval": usual}},
		{"15 s, jobs only", []flushingNode{{name: "jobs", interval: normal, keys: 100, open: every}}, map[string]wanted{"flush interval": usual}},
		{"15 s, more rows than a page has", []flushingNode{{name: "big", interval: normal, keys: scanPage + 100, history: 20 * time.Minute}}, map[string]wanted{"flush interval": usual}},
		{"300 s, more rows than a page has", []flushingNode{{name: "big", interval: long, keys: scanPage + 100}}, map[string]wanted{"flush interval": seldom}},
		{"nothing stays open", []flushingNode{{name: "short", interval: long, keys: 50, open: closed}}, map[string]wanted{"flush interval": {Skipped, "too few to tell", ""}}},
		{"two flows", nodes(1, 2, long), map[string]wanted{"flush interval": {Skipped, "too few to tell", ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2) {
				now := time.Unix(1_795_322_344+int64(seed)*7, 0)
				s := serve(t, now, 0, nil, 0)
				random := rand.New(rand.NewPCG(seed, 1))
				for i := range tt.nodes {
					tt.nodes[i].flush(s, random)
				}
				checks := examineGoldmane(t, &Goldmane{Endpoint: s.address}, clockwork.NewFakeClockAt(now))
				for name, want := range tt.want {
					requireCheck(t, checks, name, want)
				}
				require.LessOrEqual(t, len(s.asked), 110, "docs/goldtrail.md says how many")
				require.Empty(t, s.other)
			}
		})
	}
}

// Forty-six lists are not asked of a Goldmane that is busy.
func TestFlushIntervalOfABusyGoldmane(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_795_322_344, 0)
	clock := clockwork.NewFakeClockAt(now)
	s := serve(t, now, 0, nil, 0)
	s.traffic(2, kept)
	s.on = func() { clock.Advance(gentle + time.Millisecond) }
	checks := examineGoldmane(t, &Goldmane{Endpoint: s.address}, clock)
	requireCheck(t, checks, "flush interval", wanted{Skipped, "a List of one window took 301ms", ""})
	requireCheck(t, checks, "ring", wanted{OK, "of the 240", ""})
	require.LessOrEqual(t, len(s.asked), 23)
}
