package goldmanereceiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
)

// backend is a Goldmane: where nodes reach it, where the receiver does, which is a front
// that does things wrong, and how it ends.
type backend struct {
	nodes, receiver string
	stop            func()
}

// newBackend starts a Goldmane with an empty ring: the simulator, or where bin names one
// a real one.
func newBackend(t *testing.T, bin string, window time.Duration, clock clockwork.Clock, f *faults) *backend {
	t.Helper()
	b := &backend{}
	var stop func()
	if bin == "" {
		g := sim.New(sim.Options{Clock: clock, Window: window})
		server := sim.NewServer(g, nil)
		b.nodes = serve(t, server)
		stop = func() { server.Stop(); g.Stop() }
	} else {
		b.nodes, stop = startGoldmane(t, bin, window)
	}
	conn, err := grpc.NewClient(b.nodes, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	require.NoError(t, err)
	front := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		return f.forward(conn, s)
	}))
	b.receiver = serve(t, front)
	b.stop = sync.OnceFunc(func() { front.Stop(); _ = conn.Close(); stop() })
	t.Cleanup(b.stop)
	return b
}

// serve returns the address where a server serves. Who stops it is the caller.
func serve(tb testing.TB, server *grpc.Server) string {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String()
}

// startGoldmane starts a real Goldmane and returns when it listens, which it does when
// it has aligned itself to its windows. It can only be killed.
func startGoldmane(t *testing.T, bin string, window time.Duration) (address string, stop func()) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address = listener.Addr().String()
	require.NoError(t, listener.Close())
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	seconds := int(window / time.Second)
	log := &tail{}
	cmd := exec.Command(bin)
	cmd.Env = []string{
		"PORT=" + port, "HEALTH_ENABLED=false", "LOG_LEVEL=warn",
		fmt.Sprintf("AGGREGATION_WINDOW=%ds", seconds),
		fmt.Sprint("EMIT_AFTER_SECONDS=", 2*seconds), fmt.Sprintf("EMITTER_AGGREGATION_WINDOW=%ds", 4*seconds),
	}
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start(), "GOLDMANE_BIN is %s", bin)
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	killed := atomic.Bool{}
	stop = func() { killed.Store(true); _ = cmd.Process.Kill(); <-ended }
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("Goldmane's last words:\n%s", log)
		}
	})
	require.Eventually(t, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, patience, 10*time.Millisecond, "Goldmane does not listen:\n%s", log)
	select {
	case <-ended:
		require.Fail(t, "Goldmane ended by itself", "%s", log)
	default:
	}
	return address, stop
}

// faults are what Goldmane does wrong when it is asked to list.
type faults struct {
	// all makes every call fail; some makes one in that many fail, in some way.
	all  atomic.Bool
	some atomic.Int64
	cut  func()
}

// forward passes a call on, with one message up and any number down, as they are.
func (f *faults) forward(conn *grpc.ClientConn, down grpc.ServerStream) error {
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	method, _ := grpc.MethodFromServerStream(down)
	change := func(b []byte) ([]byte, error) { return b, nil }
	if method == goldmane.Flows_List_FullMethodName {
		change = func(b []byte) ([]byte, error) { return f.change(ctx, b) }
	}
	var request, answer []byte
	if err := down.RecvMsg(&request); err != nil {
		return err
	}
	up, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return err
	}
	if err := errors.Join(up.SendMsg(&request), up.CloseSend()); err != nil {
		return err
	}
	for {
		err := up.RecvMsg(&answer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		changed, err := change(answer)
		if err != nil {
			return err
		}
		if err := down.SendMsg(&changed); err != nil {
			return err
		}
	}
}

// change is what becomes of an answer to List.
func (f *faults) change(ctx context.Context, answer []byte) ([]byte, error) {
	if f.all.Load() {
		return nil, status.Error(codes.Unknown, "out of order")
	}
	some := f.some.Load()
	if some == 0 || rand.Int64N(some) != 0 {
		return answer, nil
	}
	switch rand.IntN(6) {
	case 0: // it hangs
		<-ctx.Done()
		return nil, ctx.Err()
	case 1, 2: // it is cut
		f.cut()
		return answer, nil
	case 3: // it is over the limit
		return proto.Marshal(&goldmane.FlowListResult{Flows: []*goldmane.FlowResult{{Flow: &goldmane.Flow{
			Key: &goldmane.FlowKey{SourceName: strings.Repeat("x", ledgerMessageMiB<<20)},
		}}}})
	default:
		return nil, status.Error(codes.Unknown, "out of order")
	}
}

// rawCodec takes messages, which are *[]byte, as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// proxy stands between the receiver and one of several Goldmanes, and can cut.
type proxy struct {
	listener net.Listener
	// mu guards what follows.
	mu      sync.Mutex
	backend string
	conns   []net.Conn
	wg      sync.WaitGroup
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener}
	p.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); p.cut(""); p.wg.Wait() })
	return p
}

func (p *proxy) serve(conn net.Conn) {
	p.mu.Lock()
	to, err := net.Dial("tcp", p.backend)
	if err != nil {
		p.mu.Unlock()
		_ = conn.Close()
		return
	}
	p.conns = append(p.conns, conn, to)
	p.mu.Unlock()
	p.wg.Go(func() { _, _ = io.Copy(to, conn); _ = to.Close() })
	_, _ = io.Copy(conn, to)
	_ = conn.Close()
}

// cut cuts every connection; new ones go to backend, if it is not empty.
func (p *proxy) cut(backend string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if backend != "" {
		p.backend = backend
	}
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
