package goldmanereceiver

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// nodeReport is what nodes give Goldmane: of a key, which is a port here, in a window, from
// one side.
type nodeReport struct {
	port, window int64
	reporter     string
}

// gift is when a report was given, when once more, so that its flow counts twice as much,
// and when last to a Goldmane that was restarted. What was not is zero.
type gift struct{ first, more, again time.Time }

// times is how often one Goldmane was given the report.
func (g gift) times() int64 {
	switch {
	case g.first.IsZero():
		return 0
	case g.more.IsZero():
		return 1
	}
	return 2
}

const (
	// portsAWindow have a report of the source in every window, and of the destination too,
	// by another node and at another time, but for one in portsConfirmed: nobody confirms
	// those. Two in a window are too few for silent nodes.
	portsAWindow   = 12
	portsConfirmed = 6
	nodeCount      = 3
	// outerPorts and those above are on the internet: the source's node decides alone.
	outerPorts = 1000
)

// confirmed reports whether a port's flows have a destination that reports.
func confirmed(port int64) bool { return port < outerPorts && port%portsConfirmed != 0 }

// other is the report of the other side.
func (r nodeReport) other() nodeReport {
	if r.reporter == flowlog.ReporterSource {
		r.reporter = flowlog.ReporterDestination
	} else {
		r.reporter = flowlog.ReporterSource
	}
	return r
}

// nodes give Goldmane flows, as Felix does: most when their window is over, one in ten
// after it was streamed, one in fifty after it has settled. One in eight counts more later,
// half of them before the window has settled.
type nodes struct {
	t      *testing.T
	clock  clockwork.Clock
	window time.Duration
	rand   *rand.Rand
	nodes  [nodeCount]node

	// mu guards given.
	mu    sync.Mutex
	given map[nodeReport]gift

	stop chan struct{}
	wg   sync.WaitGroup
}

// node is one connection to Goldmane.
type node struct {
	// mu guards what follows, and is held from one flow to its receipt, and while there
	// is no Goldmane to connect to.
	mu     sync.Mutex
	conn   *grpc.ClientConn
	stream grpc.BidiStreamingClient[goldmane.FlowUpdate, goldmane.FlowReceipt]
}

func newNodes(t *testing.T, clock clockwork.Clock, window time.Duration, seed uint64, address string) *nodes {
	t.Helper()
	n := &nodes{
		t: t, clock: clock, window: window, rand: rand.New(rand.NewPCG(seed, 1)),
		given: map[nodeReport]gift{}, stop: make(chan struct{}),
	}
	for i := range n.nodes {
		n.nodes[i].mu.Lock()
		n.nodes[i].connectLocked(t, address)
		n.nodes[i].mu.Unlock()
	}
	t.Cleanup(func() {
		n.end()
		for i := range n.nodes {
			_ = n.nodes[i].conn.Close()
		}
	})
	n.wg.Go(n.run)
	return n
}

// end ends the traffic.
func (n *nodes) end() {
	select {
	case <-n.stop:
	default:
		close(n.stop)
	}
	n.wg.Wait()
}

// wait waits for d, and returns false when the traffic is to end.
func (n *nodes) wait(d time.Duration) bool {
	timer := n.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-n.stop:
		return false
	case <-timer.Chan():
		return true
	}
}

// run gives every window's reports until the traffic is to end.
func (n *nodes) run() {
	for start := n.clock.Now().Truncate(n.window); ; start = start.Add(n.window) {
		if !n.wait(n.clock.Until(start.Add(n.window))) {
			return
		}
		for port := int64(1); port <= portsAWindow; port++ {
			source := nodeReport{port, start.Unix(), flowlog.ReporterSource}
			n.giveLater(source)
			if confirmed(port) {
				n.giveLater(source.other())
			}
		}
	}
}

func (n *nodes) giveLater(r nodeReport) {
	between := func(from, to float64) time.Duration {
		return time.Duration((from + (to-from)*n.rand.Float64()) * float64(n.window))
	}
	after := between(0, 0.8)
	switch {
	case n.rand.IntN(50) == 0:
		after = between(3, 11)
	case n.rand.IntN(10) == 0:
		after = between(1.15, 1.65)
	}
	more := time.Duration(0)
	switch n.rand.IntN(16) {
	case 0:
		more = between(0, 0.3)
	case 1:
		more = between(3, 11)
	}
	n.wg.Go(func() {
		if n.wait(after) {
			n.give(r)
		}
		if more > 0 && n.wait(more) {
			n.give(r)
		}
	})
}

// give returns when Goldmane has taken the report. The second time another node gives it:
// Goldmane takes a flow's window from one node once.
func (n *nodes) give(r nodeReport) {
	n.mu.Lock()
	g := n.given[r]
	n.mu.Unlock()
	node := n.of(r, g.times())
	node.mu.Lock()
	defer node.mu.Unlock()
	node.sendLocked(n.t, n.flow(r))
	if g.first.IsZero() {
		g.first = n.clock.Now()
	} else {
		g.more = n.clock.Now()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	g.again = n.given[r].again
	n.given[r] = g
}

// has is how many reports of a window Goldmane was given.
func (n *nodes) has(window int64) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	has := 0
	for r := range n.given {
		if r.window == window {
			has++
		}
	}
	return has
}

// of is which node gives a report that was given so many times.
func (n *nodes) of(r nodeReport, times int64) *node {
	i := r.port + times
	if r.reporter == flowlog.ReporterDestination {
		i++
	}
	return &n.nodes[i%nodeCount]
}

func (n *nodes) flow(r nodeReport) *goldmane.Flow {
	f := row(port(r.port)).Flow
	if r.port >= outerPorts {
		toInternet(f)
	}
	if r.reporter == flowlog.ReporterDestination {
		atDestination(f)
	}
	f.StartTime, f.EndTime = r.window, r.window+int64(n.window/time.Second)
	return f
}

// restart ends a Goldmane and has another put in its place. Each node finds it within
// three windows, and sends again what it gave in the last twenty: Felix keeps five
// minutes.
func (n *nodes) restart(replace func() (address string)) {
	for i := range n.nodes {
		n.nodes[i].mu.Lock()
	}
	address := replace()
	for i := range n.nodes {
		node, pause := &n.nodes[i], n.clock.NewTimer(time.Duration(rand.Float64()*3*float64(n.window)))
		n.wg.Go(func() {
			defer node.mu.Unlock()
			<-pause.Chan()
			_ = node.conn.Close()
			node.connectLocked(n.t, address)
			for _, r := range n.kept(node) {
				node.sendLocked(n.t, n.flow(r))
				n.mu.Lock()
				g := n.given[r]
				g.again = n.clock.Now()
				n.given[r] = g
				n.mu.Unlock()
			}
		})
	}
}

// kept are the reports that a node would send again.
func (n *nodes) kept(node *node) []nodeReport {
	n.mu.Lock()
	defer n.mu.Unlock()
	var kept []nodeReport
	for r, gift := range n.given {
		gave := n.of(r, 0) == node || gift.times() == 2 && n.of(r, 1) == node
		if gave && n.clock.Since(gift.first) < resentWindows*n.window {
			kept = append(kept, r)
		}
	}
	return kept
}

func (n *node) connectLocked(t *testing.T, address string) {
	var err error
	n.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		n.stream, err = goldmane.NewFlowCollectorClient(n.conn).Connect(context.Background())
	}
	if err != nil {
		t.Errorf("a node cannot connect: %v", err)
	}
}

// sendLocked returns when Goldmane has taken the flow.
func (n *node) sendLocked(t *testing.T, f *goldmane.Flow) {
	err := n.stream.Send(&goldmane.FlowUpdate{Flow: f})
	if err == nil {
		_, err = n.stream.Recv()
	}
	if err != nil {
		t.Errorf("a node cannot give its flows: %v", err)
	}
}
