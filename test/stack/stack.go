package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// startTimeout is how long a part may take until it is ready. Loki and the Collector
// need less than a second on an idle machine; a busy CI machine gets a minute.
const startTimeout = time.Minute

// Stack is a set of running processes. Its methods are safe for concurrent use.
type Stack struct {
	dir  string
	died chan *Process // the first process that ended unasked after it was ready

	mu    sync.Mutex // guards procs
	procs []*Process
}

// New returns a stack without processes. It keeps logs and data in dir, which must
// exist, and which the caller removes after Stop.
func New(dir string) *Stack {
	return &Stack{dir: dir, died: make(chan *Process, 1)}
}

// Died delivers the first process that ended without Stop. Its ExitError says why.
func (s *Stack) Died() <-chan *Process { return s.died }

// Stop ends all processes, the youngest first: the Collector before the Loki it
// writes to. The stack can be used again afterwards.
func (s *Stack) Stop() error {
	s.mu.Lock()
	procs := s.procs
	s.procs = nil
	s.mu.Unlock()

	var errs []error
	for _, p := range slices.Backward(procs) {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}

// start starts the program that the environment variable binVar names, and waits
// until ready returns nil. A program that is not ready in time is stopped.
func (s *Stack) start(ctx context.Context, name, binVar string, args, env []string, ready func(context.Context, *Process) error) (*Process, error) {
	p, err := s.launch(name, binVar, args, env)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.await(ctx, func(ctx context.Context) error { return ready(ctx, p) }); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	go s.watch(p)
	return p, nil
}

// watch tells Died when p ends unasked. It returns when p is gone.
func (s *Stack) watch(p *Process) {
	<-p.done
	if p.stopping.Load() {
		return
	}
	select {
	case s.died <- p:
	default: // an earlier death is the cause
	}
}

// launch starts a program without waiting for anything.
func (s *Stack) launch(name, binVar string, args, env []string) (*Process, error) {
	program := os.Getenv(binVar)
	if program == "" {
		return nil, fmt.Errorf("%s is not set: run this through make (`make demo`, `make e2e`), which builds the program and names it", binVar)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	logPath := filepath.Join(s.dir, fmt.Sprintf("%02d-%s.log", len(s.procs)+1, name))
	p, err := startProcess(name, logPath, program, args, env)
	if err != nil {
		return nil, err
	}
	s.procs = append(s.procs, p)
	return p, nil
}

// FreePorts returns n different TCP ports on loopback that were free a moment ago.
// Between that and its use another process may take one; the kernel hands out ports in
// an order that makes this unlikely, and the part that then fails to start says so.
func FreePorts(n int) ([]uint16, error) {
	ports := make([]uint16, n)
	for i := range ports {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() //nolint:gocritic // all at the end, so that none is found twice
		ports[i] = netip.MustParseAddrPort(l.Addr().String()).Port()
	}
	return ports, nil
}
