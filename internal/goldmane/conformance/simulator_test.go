package conformance

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
)

// simulator is a simulated Goldmane on a fake clock.
type simulator struct {
	clock   *clockwork.FakeClock
	sim     *sim.Goldmane
	srv     *grpc.Server
	lis     net.Listener
	crashed chan struct{}
	served  chan struct{}
	stopped sync.Once
}

func startSimulator(t *testing.T, files *pki) goldmaneServer {
	s := &simulator{
		clock:   clockwork.NewFakeClockAt(time.Unix(1_700_000_010, 0)), // a window's start
		crashed: make(chan struct{}),
		served:  make(chan struct{}),
	}
	s.sim = sim.New(sim.Options{Clock: s.clock, OnCrash: func(error) { close(s.crashed) }})
	var conf *tls.Config
	if files != nil {
		var err error
		conf, err = sim.MutualTLS(files.cert, files.key, files.ca)
		require.NoError(t, err)
	}
	s.srv = sim.NewServer(s.sim, conf)
	var err error
	s.lis, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		defer close(s.served)
		if err := s.srv.Serve(s.lis); err != nil {
			t.Errorf("the simulator's server: %v", err)
		}
	}()
	return s
}

func (s *simulator) addr() string           { return s.lis.Addr().String() }
func (s *simulator) window() int64          { return 15 }
func (s *simulator) now() int64             { return s.clock.Now().Unix() }
func (s *simulator) ended() <-chan struct{} { return s.crashed }

// until turns the clock on window by window, and lets the ring follow each time.
func (s *simulator) until(_ *testing.T, at int64) {
	for s.now() < at {
		step := min(at, s.now()-s.now()%15+15) - s.now()
		s.clock.Advance(time.Duration(step) * time.Second)
		s.sim.Keys(0) // is answered when the ring is level with the clock
	}
}

func (s *simulator) stop() {
	s.stopped.Do(func() {
		s.sim.Stop()
		s.srv.Stop()
		<-s.served
	})
}
