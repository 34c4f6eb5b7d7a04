package edgesconnector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	edges "github.com/goldtrail/goldtrail/connector/edgesconnector/internal/metadata"
	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// child is what a connector's process is told, in its environment. What time it is comes
// with every call.
type child struct {
	Listen  string `json:"listen"`
	Sink    string `json:"sink"`
	Storage string `json:"storage"`
	Now     int64  `json:"now"`
}

const (
	childEnv  = "GOLDTRAIL_EDGES_CHILD"
	nowHeader = "now"
)

// otlp serves logs.
type otlp struct {
	plogotlp.UnimplementedGRPCServer
	consume func(context.Context, plog.Logs) error
}

func (o *otlp) Export(ctx context.Context, request plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	return plogotlp.NewExportResponse(), o.consume(ctx, request.Logs())
}

func serve(t *testing.T, listener net.Listener, o *otlp) *grpc.Server {
	t.Helper()
	server := grpc.NewServer()
	plogotlp.RegisterGRPCServer(server, o)
	go func() { _ = server.Serve(listener) }()
	return server
}

func dial(t *testing.T, address string) (plogotlp.GRPCClient, *grpc.ClientConn) {
	t.Helper()
	soon := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond}}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(soon))
	require.NoError(t, err)
	return plogotlp.NewGRPCClient(conn), conn
}

// TestKillChild is a connector in a process of its own, for TestKill to kill.
func TestKillChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("it is started by TestKill")
	}
	var c child
	require.NoError(t, json.Unmarshal([]byte(os.Getenv(childEnv)), &c))
	sink, conn := dial(t, c.Sink)
	next, err := consumer.NewLogs(func(ctx context.Context, logs plog.Logs) error {
		_, err := sink.Export(ctx, plogotlp.NewExportRequestFromLogs(logs))
		return err
	})
	require.NoError(t, err)
	host := &rig{t: t, extensions: map[component.ID]component.Component{fileStorage: newFileStorage(t, c.Storage, false)}}
	cfg := createDefaultConfig().(*Config)
	cfg.StorageID, cfg.KnownEdges.Learn = &fileStorage, 0
	set := connectortest.NewNopSettings(edges.Type)
	set.ID = component.NewID(edges.Type)
	connector, err := newRollups(set, cfg, next)
	require.NoError(t, err)
	clock := clockwork.NewFakeClockAt(time.Unix(c.Now, 0))
	connector.clock = clock
	require.NoError(t, connector.Start(context.Background(), host))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", c.Listen)
	require.NoError(t, err)
	server := serve(t, listener, &otlp{consume: func(ctx context.Context, logs plog.Logs) error {
		headers, _ := metadata.FromIncomingContext(ctx)
		now, err := strconv.ParseInt(headers.Get(nowHeader)[0], 10, 64)
		if err != nil {
			return err
		}
		if by := time.Unix(now, 0).Sub(clock.Now()); by > 0 {
			clock.Advance(by)
		}
		return connector.ConsumeLogs(ctx, logs)
	}})
	_, err = io.Copy(io.Discard, os.Stdin) // until it is killed, or asked to end
	require.NoError(t, err)
	server.Stop()
	require.NoError(t, connector.Shutdown(context.Background()))
	require.NoError(t, host.extensions[fileStorage].Shutdown(context.Background()))
	require.NoError(t, conn.Close())
}

// killRun is one run of TestKill.
type killRun struct {
	t      *testing.T
	random *rand.Rand
	child  child
	sink   *sink
	client plogotlp.GRPCClient
	now    int64

	// mu guards process.
	mu      sync.Mutex
	process *exec.Cmd
	stdin   io.WriteCloser
	ended   chan struct{}
	// killAtSink has the connector killed when the sink has something that the connector
	// does not know it has.
	killAtSink atomic.Bool
	// calm: the sink refuses nothing any more.
	calm  atomic.Bool
	kills atomic.Int64
}

func (k *killRun) start() {
	k.child.Now = k.now
	env, err := json.Marshal(k.child)
	require.NoError(k.t, err)
	cmd := exec.CommandContext(k.t.Context(), os.Args[0], "-test.run=^TestKillChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+string(env))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(k.t, err)
	require.NoError(k.t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.process, k.stdin, k.ended = cmd, stdin, ended
}

// kill is SIGKILL. It waits for the end.
func (k *killRun) kill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.process.Process.Kill()
	<-k.ended
	k.kills.Add(1)
}

func (k *killRun) dead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.ended:
		return true
	default:
		return false
	}
}

// give hands records on as the receiver does: until they are taken, the very same after a
// crash.
func (k *killRun) give(logs plog.Logs) {
	k.t.Helper()
	until := time.Now().Add(time.Minute)
	for {
		if k.dead() {
			k.start()
		}
		ctx := metadata.AppendToOutgoingContext(context.Background(), nowHeader, strconv.FormatInt(k.now, 10))
		ctx, cancel := context.WithTimeout(ctx, patience)
		_, err := k.client.Export(ctx, plogotlp.NewExportRequestFromLogs(logs), grpc.WaitForReady(false))
		cancel()
		if err == nil {
			return
		}
		require.True(k.t, time.Now().Before(until), "the connector should take records: %v", err)
		<-time.After(5 * time.Millisecond) // it is being started
	}
}

// TestKill kills a connector with real storage at random moments: in the middle of taking
// records, and of handing rollups on. The totals of every edge are those of the records,
// late ones included. GOLDTRAIL_SEED repeats the test's part of a run.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("GOLDTRAIL_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("GOLDTRAIL_SEED=%d", seed)
	k := &killRun{t: t, random: rand.New(rand.NewPCG(seed, 0)), sink: &sink{}, now: hourStart}
	k.child.Storage = t.TempDir()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	k.child.Sink = listener.Addr().String()
	server := serve(t, listener, &otlp{consume: k.receive})
	defer server.Stop()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	k.child.Listen = free.Addr().String()
	require.NoError(t, free.Close())
	var conn *grpc.ClientConn
	k.client, conn = dial(t, k.child.Listen)
	conn.Connect()
	defer func() { require.NoError(t, conn.Close()) }()
	k.start()
	defer k.kill()

	want := expect()
	const windows = 3 * hourWindows
	for w := range int64(windows + 24) {
		k.now = hourStart + (w+3)*windowLength
		if w < windows {
			k.window(w, false, 40, want)
		}
		if w >= 24 {
			k.window(w-24, true, 2, want)
		}
	}
	k.killAtSink.Store(false)
	k.calm.Store(true)
	// Nothing more comes; time goes on, and rollups are said.
	final := func() bool {
		k.now += 15
		k.give(plog.NewLogs())
		sums, _ := want.sums(wholes)
		got := k.sink.rollups(t, flowlog.StreamEdges)
		for in := range sums {
			if !got[in].Final || got[in].Sum != sums[in] {
				return false
			}
		}
		return true
	}
	require.Eventually(t, final, patience, 20*time.Millisecond, "all rollups should be said")
	require.NoError(t, k.stdin.Close())
	<-k.ended

	want.require(t, k.sink)
	for _, r := range k.sink.rollups(t, flowlog.StreamEdges) {
		assert.Equal(t, int64(hourWindows), r.Complete)
	}
	events, known := map[flowlog.FirstSeen]int{}, map[flowlog.Edge]bool{}
	for _, e := range k.sink.events(t) {
		events[e]++
		known[e.Edge] = true
	}
	assert.Len(t, known, len(events), "an edge has one event, which may be repeated exactly")
	sums, _ := want.sums(wholes)
	for in := range sums {
		assert.True(t, known[in.edge], "%v has no event", in.edge)
	}
	t.Logf("%d kills, %d records, %d rollups of %d edges and hours", k.kills.Load(), len(want.lines), len(k.sink.all(flowlog.StreamEdges)), len(sums))
	assert.Greater(t, k.kills.Load(), int64(10))
}

// receive is the sink: it refuses now and then, and kills.
func (k *killRun) receive(ctx context.Context, logs plog.Logs) error {
	switch {
	case k.killAtSink.CompareAndSwap(true, false):
		if err := k.sink.consume(ctx, logs); err != nil {
			return err
		}
		k.kill()
		return errors.New("nobody hears this")
	case !k.calm.Load() && rand.IntN(10) == 0:
		return grpcstatus.Error(codes.Unavailable, "busy")
	}
	return k.sink.consume(ctx, logs)
}

// window hands on a window's flows, in one or two batches, and its coverage.
func (k *killRun) window(w int64, final bool, most int, want *expected) {
	var all []flowlog.Flow
	for range k.random.IntN(most) {
		reporter := []string{src, both, dst}[k.random.IntN(3)]
		f := flow(w, fmt.Sprint("s", k.random.IntN(15)), fmt.Sprint("d", k.random.IntN(3)), reporter, k.random.Int64N(1e6))
		f.Late, f.Counts = final, k.random.IntN(5) > 0
		all = append(all, f)
		want.add(&f)
	}
	switch k.random.IntN(70) {
	case 0: // some time soon
		delay := time.Duration(k.random.IntN(5000)) * time.Microsecond
		killed := make(chan struct{})
		go func() { defer close(killed); <-time.After(delay); k.kill() }()
		defer func() { <-killed }()
	case 1:
		k.killAtSink.Store(true)
	}
	cut := k.random.IntN(len(all) + 1)
	k.give(flows(all[:cut]...))
	if k.random.IntN(200) == 0 { // between two batches of a window, which then begins anew
		k.kill()
		k.give(flows(all[:cut]...))
	}
	k.give(flows(all[cut:]...))
	k.give(covers(w, w+1, flowlog.StatusComplete, final))
	if k.random.IntN(40) == 0 { // the receiver crashes before it notes that the window is done
		k.give(flows(all...))
		k.give(covers(w, w+1, flowlog.StatusComplete, final))
	}
}
