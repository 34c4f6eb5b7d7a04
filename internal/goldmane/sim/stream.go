package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

const (
	maxStreams = 100

	// Queues and patience on a bucket's way to the streams.
	fanOutDepth = 500 // buckets
	fanOutWait  = 30 * time.Second
	inDepth     = 500 // buckets a stream
	inWait      = time.Second
	outDepth    = 2 * ringSize // flows a stream
	outWait     = 60 * time.Second
)

var errTooManyStreams = errors.New("one stream more than 100 was opened; Goldmane dereferences the refusal and panics")

// streams knows the open streams and passes buckets on to them.
type streams struct {
	g        *Goldmane
	buckets  chan *bucket
	requests chan *stream
	closed   chan *stream

	// mu guards open. It is held while a bucket is passed to every stream.
	mu   sync.Mutex
	open map[*stream]struct{}
}

// stream is one client's. Buckets go in, its goroutine takes them apart, flows come out.
type stream struct {
	g      *Goldmane
	start  int64
	in     chan *bucket
	out    chan *goldmane.FlowResult
	opened chan struct{} // closed when the stream is registered
	ctx    context.Context
	cancel context.CancelFunc
}

func newStreams(g *Goldmane) *streams {
	return &streams{
		g:        g,
		buckets:  make(chan *bucket, fanOutDepth),
		requests: make(chan *stream, 10),
		closed:   make(chan *stream, maxStreams),
		open:     make(map[*stream]struct{}),
	}
}

// offer takes a bucket that is due to be streamed; the main loop calls it.
func (s *streams) offer(b *bucket) {
	// A bucket that finds no room in 30 s is lost to all streams, as in Goldmane.
	_ = send(s.g.ctx, s.g.clock, s.buckets, b, fanOutWait)
}

// serve opens and closes streams, one at a time. The main loop must have room for a new
// stream's backfill before the next one is looked at.
func (s *streams) serve() {
	defer s.g.wg.Done()
	for {
		select {
		case <-s.g.ctx.Done():
			return
		case st := <-s.requests:
			if !s.register(st) {
				s.g.fail(errTooManyStreams)
				return
			}
			close(st.opened)
			select {
			case s.g.backfills <- st:
			case <-s.g.ctx.Done():
				return
			}
		case st := <-s.closed:
			s.mu.Lock()
			delete(s.open, st)
			s.mu.Unlock()
		}
	}
}

func (s *streams) register(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxStreams {
		return false
	}
	s.open[st] = struct{}{}
	s.g.wg.Add(1)
	go st.run()
	return true
}

// fanOut passes every bucket to every stream.
func (s *streams) fanOut() {
	defer s.g.wg.Done()
	for {
		select {
		case <-s.g.ctx.Done():
			return
		case b := <-s.buckets:
			s.mu.Lock()
			for st := range s.open {
				st.offer(b)
			}
			s.mu.Unlock()
		}
	}
}

// offer queues a bucket for the stream. One that finds no room in 1 s is lost to it.
func (st *stream) offer(b *bucket) {
	_ = send(st.ctx, st.g.clock, st.in, b, inWait)
}

// run turns buckets into flows and keeps each bucket locked until the last of its flows
// is queued. A client who takes no flow for 60 s loses the rest of the bucket and is
// not told.
func (st *stream) run() {
	defer st.g.wg.Done()
	for {
		select {
		case <-st.ctx.Done():
			return
		case b := <-st.in:
			b.each(func(row *goldmane.FlowResult) bool {
				return send(st.ctx, st.g.clock, st.out, row, outWait) == nil
			})
		}
	}
}

// Stream sends every window once from now on, and before that the history from
// start_time_gte on; 0 is none.
func (s *flowsServer) Stream(req *goldmane.FlowStreamRequest, srv grpc.ServerStreamingServer[goldmane.FlowResult]) error {
	if err := refuseFilter(req.Filter); err != nil {
		return err
	}
	start := req.StartTimeGte
	if start < 0 {
		start += s.g.clock.Now().Unix()
	}
	st := &stream{
		g: s.g, start: start,
		in:     make(chan *bucket, inDepth),
		out:    make(chan *goldmane.FlowResult, outDepth),
		opened: make(chan struct{}),
	}
	st.ctx, st.cancel = context.WithCancel(s.g.ctx)
	defer st.cancel()
	select {
	case s.g.streams.requests <- st:
	case <-s.g.ctx.Done():
		return errGone()
	}
	select {
	case <-st.opened:
	case <-s.g.ctx.Done():
		return errGone()
	}
	defer st.close()
	for {
		select {
		case row := <-st.out:
			if err := srv.Send(row); err != nil {
				return err
			}
		case <-srv.Context().Done():
			return srv.Context().Err()
		case <-s.g.ctx.Done():
			return errGone()
		}
	}
}

func (st *stream) close() {
	st.cancel()
	select {
	case st.g.streams.closed <- st:
	case <-st.g.ctx.Done():
	}
}
