package sim

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

type collectorServer struct {
	goldmane.UnimplementedFlowCollectorServer
	g *Goldmane
}

// Connect takes a node's flows and answers each with a receipt: also one that is a
// duplicate, that no window holds or that found the intake full. A receipt does not
// say that the flow is in the ring yet.
func (s *collectorServer) Connect(srv grpc.BidiStreamingServer[goldmane.FlowUpdate, goldmane.FlowReceipt]) error {
	node := "unknown"
	if p, ok := peer.FromContext(srv.Context()); ok {
		node = p.Addr.String()
	}
	for {
		upd, err := srv.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.g.ctx.Err() != nil {
			return errGone()
		}
		a, err := newArrival(upd.Flow)
		if err != nil {
			s.g.fail(err)
			return errGone()
		}
		if s.g.dedup.first(node, a) {
			s.g.take(intake{flow: a})
		}
		if err := srv.Send(&goldmane.FlowReceipt{}); err != nil {
			return err
		}
	}
}

// dedupTime is how long a node's flow is remembered.
const dedupTime = 5 * time.Minute

// dedup knows the flows that a node has sent. A node is an address with its port: one
// that connects anew is another, and what it sends again is added again.
type dedup struct {
	clock clockwork.Clock
	mu    sync.Mutex // guards until
	until map[dedupKey]time.Time
}

type dedupKey struct {
	node, id   string
	start, end int64
}

func newDedup(clock clockwork.Clock) *dedup {
	return &dedup{clock: clock, until: make(map[dedupKey]time.Time)}
}

// first reports whether the flow is new from this node.
func (d *dedup) first(node string, a *arrival) bool {
	k := dedupKey{node, a.id, a.start, a.end}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.until[k]; known {
		return false
	}
	d.until[k] = d.clock.Now().Add(dedupTime)
	return true
}

// expire forgets what is older than dedupTime.
func (d *dedup) expire() {
	now := d.clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, until := range d.until {
		if until.Before(now) {
			delete(d.until, k)
		}
	}
}
