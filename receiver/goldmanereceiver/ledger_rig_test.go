package goldmanereceiver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
)

// fastClock goes speed times as fast as the wall, from a moment that all processes of a
// test share. An hour, Goldmane's memory, passes in seconds.
type fastClock struct {
	clockwork.Clock
	Epoch time.Time // when the wall and the fast clock agreed
	Speed int64
}

func newFastClock(epoch time.Time, speed int64) *fastClock {
	return &fastClock{clockwork.NewRealClock(), epoch, speed}
}

func (c *fastClock) Now() time.Time {
	return c.Epoch.Add(time.Duration(int64(time.Since(c.Epoch)) * c.Speed))
}
func (c *fastClock) Since(t time.Time) time.Duration        { return c.Now().Sub(t) }
func (c *fastClock) Until(t time.Time) time.Duration        { return t.Sub(c.Now()) }
func (c *fastClock) Sleep(d time.Duration)                  { c.Clock.Sleep(c.wall(d)) }
func (c *fastClock) After(d time.Duration) <-chan time.Time { return c.NewTimer(d).Chan() }

// wall is how long d takes on the wall.
func (c *fastClock) wall(d time.Duration) time.Duration { return time.Duration(int64(d) / c.Speed) }

func (c *fastClock) NewTimer(d time.Duration) clockwork.Timer { return c.Clock.NewTimer(c.wall(d)) }

func (c *fastClock) NewTicker(d time.Duration) clockwork.Ticker {
	return c.Clock.NewTicker(max(1, c.wall(d)))
}

func (c *fastClock) AfterFunc(d time.Duration, f func()) clockwork.Timer {
	return c.Clock.AfterFunc(c.wall(d), f)
}

// child is what a receiver's process is told, in its environment.
type child struct {
	Epoch    time.Time `json:"epoch"`
	Speed    int64     `json:"speed"`
	Goldmane string    `json:"goldmane"`
	Sink     string    `json:"sink"`
	Storage  string    `json:"storage"`
}

const childEnv = "GOLDTRAIL_LEDGER_CHILD"

// TestLedgerChild is a receiver in a process of its own, for TestLedger to kill.
func TestLedgerChild(t *testing.T) {
	var c child
	if os.Getenv(childEnv) == "" {
		t.Skip("it is started by TestLedger")
	}
	require.NoError(t, json.Unmarshal([]byte(os.Getenv(childEnv)), &c))
	conn, err := grpc.NewClient(c.Sink, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	client := plogotlp.NewGRPCClient(conn)
	next, err := consumer.NewLogs(func(ctx context.Context, logs plog.Logs) error {
		_, err := client.Export(ctx, plogotlp.NewExportRequestFromLogs(logs))
		return err
	})
	require.NoError(t, err)

	factory := filestorage.NewFactory()
	conf := factory.CreateDefaultConfig().(*filestorage.Config)
	conf.Directory = c.Storage
	extension, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), conf)
	require.NoError(t, err)
	host := &rig{t: t, extensions: map[component.ID]component.Component{fileStorage: extension}}
	require.NoError(t, extension.Start(context.Background(), host))

	cfg := createDefaultConfig().(*Config)
	cfg.Endpoint, cfg.TLS.Insecure, cfg.StorageID = c.Goldmane, true, &fileStorage
	cfg.MaxRecvMsgSizeMiB = 1
	cfg.ListTimeout = 300 * time.Millisecond // on the wall
	set := receivertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	set.Logger, err = zap.NewDevelopment()
	require.NoError(t, err)
	receiver, err := newReceiver(set, cfg, next)
	require.NoError(t, err)
	receiver.clock = newFastClock(c.Epoch, c.Speed)
	require.NoError(t, receiver.Start(context.Background(), host))
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed, or its parent has died
}

// process is a running child.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (c child) start(t *testing.T, log io.Writer) *process {
	t.Helper()
	env, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLedgerChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+string(env))
	cmd.Stdout, cmd.Stderr = log, log
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	return p
}

// kill is SIGKILL, and waits for the end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
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

// cut cuts every connection; new ones go to backend.
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

// faults are what List does wrong.
type faults struct {
	// all makes every call fail; some makes one in that many fail, in some way.
	all  atomic.Bool
	some atomic.Int64
	cut  func()
}

func (f *faults) intercept(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if f.all.Load() {
		return nil, status.Error(codes.Unknown, "out of order")
	}
	got, err := handler(ctx, req)
	some := f.some.Load()
	if some == 0 || rand.Int64N(some) != 0 {
		return got, err
	}
	switch rand.IntN(4) {
	case 0:
		return nil, status.Error(codes.Unknown, "out of order")
	case 1: // it hangs
		<-ctx.Done()
		return nil, ctx.Err()
	case 2: // it is cut
		f.cut()
		return got, err
	default: // it is over the limit
		list := &goldmane.FlowListResult{Flows: []*goldmane.FlowResult{{Flow: &goldmane.Flow{
			Key: &goldmane.FlowKey{SourceName: strings.Repeat("x", 2<<20)},
		}}}}
		return list, nil
	}
}

// newGoldmane starts a simulator behind its own server.
func newGoldmane(t *testing.T, clock clockwork.Clock, f *faults) (*sim.Goldmane, string) {
	t.Helper()
	g := sim.New(sim.Options{Clock: clock})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.UnaryInterceptor(f.intercept))
	g.Register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); g.Stop() })
	return g, listener.Addr().String()
}

// sink is the pipeline's end, in the test's process, so that what it has survives the
// receiver.
type sink struct {
	plogotlp.UnimplementedGRPCServer
	// all makes it refuse everything; some makes it refuse one in that many.
	all  atomic.Bool
	some atomic.Int64

	mu sync.Mutex
	// records are all that arrived; mu guards it.
	records []received
}

type received struct {
	stream, event, body string
	at                  time.Time
	attributes          map[string]any
}

func (s *sink) Export(_ context.Context, req plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	none := plogotlp.NewExportResponse()
	some := s.some.Load()
	if s.all.Load() || some > 0 && rand.Int64N(some) == 0 {
		return none, status.Error(codes.Unavailable, "full")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rl := range req.Logs().ResourceLogs().All() {
		name, _ := rl.Resource().Attributes().Get("service.name")
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				s.records = append(s.records, received{name.Str(), lr.EventName(), lr.Body().Str(), lr.Timestamp().AsTime(), lr.Attributes().AsRaw()})
			}
		}
	}
	return none, nil
}

func newSink(t *testing.T) (*sink, string) {
	t.Helper()
	s := &sink{}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	plogotlp.RegisterGRPCServer(server, s)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return s, listener.Addr().String()
}

// tail keeps the last lines of a log, for when the test fails.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := bufio.NewScanner(strings.NewReader(string(b))); s.Scan(); {
		l.lines = append(l.lines, s.Text())
	}
	l.lines = l.lines[max(0, len(l.lines)-200):]
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintln(strings.Join(l.lines, "\n"))
}
