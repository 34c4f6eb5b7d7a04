package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// tail reads a stream in the background.
type tail struct {
	mu   sync.Mutex // guards rows
	rows []received
	done chan struct{}
}

type received struct {
	*goldmane.FlowResult
	at int64 // on Goldmane's clock
}

// follow opens a stream. It may not be registered yet when follow returns.
func (g *target) follow(t *testing.T, gte int64) *tail {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := g.flows.Stream(ctx, &goldmane.FlowStreamRequest{StartTimeGte: gte})
	require.NoError(t, err)
	s := &tail{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for {
			row, err := stream.Recv()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.rows = append(s.rows, received{row, g.now()})
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() { cancel(); <-s.done })
	return s
}

// followLive opens a stream and returns when it is registered. No window that the test
// uses may be older than 100 windows.
func (g *target) followLive(t *testing.T) *tail { return g.followAll(t, 1)[0] }

// followAll opens n streams and returns when all of them are registered: when each has
// been sent the backfill that it asked for.
func (g *target) followAll(t *testing.T, n int) []*tail {
	at := g.current() - 150*g.w
	g.seq++
	hello := g.flow(fmt.Sprint("hello-", g.seq), at)
	hello.Key.SourceNamespace = markers
	g.push(t, hello)
	tails := make([]*tail, n)
	for i := range tails {
		tails[i] = g.follow(t, at)
	}
	for _, s := range tails {
		s.await(t, hello.Key.SourceName)
	}
	return tails
}

// get is what has come so far under a name.
func (s *tail) get(name string) []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []received
	for _, r := range s.rows {
		if r.Flow.Key.SourceName == name {
			rows = append(rows, r)
		}
	}
	return rows
}

// await is the first row under a name.
func (s *tail) await(t *testing.T, name string) received {
	require.Eventually(t, func() bool { return len(s.get(name)) > 0 }, patience, 5*time.Millisecond,
		"%s never came", name)
	return s.get(name)[0]
}

// soon reports whether a row under a name is there or comes within a second.
func (s *tail) soon(name string) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(time.Second); ; {
		select {
		case <-timeout:
			return false
		case <-tick.C:
			if len(s.get(name)) > 0 {
				return true
			}
		}
	}
}

// order is the names that have come so far, markers left out.
func (s *tail) order() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := []string{}
	for _, r := range s.rows {
		if r.Flow.Key.SourceNamespace != markers {
			order = append(order, r.Flow.Key.SourceName)
		}
	}
	return order
}

// flush returns when the stream has delivered all that Goldmane had for it: it sends a
// flow that is streamed after everything else.
func (g *target) flush(t *testing.T, s *tail) {
	for range 5 {
		g.seq++
		at := g.fresh(t)
		f := g.flow(fmt.Sprint("flush-", g.seq), at)
		f.Key.SourceNamespace = markers
		g.push(t, f)
		g.until(t, at+2*g.w)
		// A stream that has only just been opened may have missed it: then try again.
		if s.soon(f.Key.SourceName) {
			return
		}
	}
	require.Fail(t, "the stream delivers nothing")
}
