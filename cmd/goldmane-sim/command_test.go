package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// program is a running simulator and a client of it.
type program struct {
	clock  *clockwork.FakeClock
	client *grpc.ClientConn
	stop   context.CancelFunc
	ended  chan error
}

func begin(t *testing.T, o options) *program {
	// In the middle of a window, as a start by hand is.
	p := &program{clock: clockwork.NewFakeClockAt(time.Unix(1_700_000_017, 0)), ended: make(chan error, 1)}
	log, w := io.Pipe()
	o.listen, o.clock, o.log = "127.0.0.1:0", p.clock, w
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	go func() {
		p.ended <- o.run(ctx)
		_ = w.Close() // of a pipe: never fails
	}()
	lines := bufio.NewScanner(log)
	var addr string
	for addr == "" && lines.Scan() {
		addr, _ = strings.CutPrefix(lines.Text(), "goldmane-sim: listening on ")
		if addr == lines.Text() {
			addr = ""
		}
	}
	require.NotEmpty(t, addr, "it never said that it listens")
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
		}
	}()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	p.client = conn
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		cancel()
		<-drained
	})
	return p
}

func (p *program) keys(t *testing.T, start int64) int {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := goldmane.NewFlowsClient(p.client).List(ctx, &goldmane.FlowListRequest{StartTimeGte: start, StartTimeLt: start + 15})
	require.NoError(t, err)
	return len(res.Flows)
}

// want is the number of keys that the cluster sends for a window within after.
func want(seed uint64, start int64, after time.Duration) int {
	keys := make(map[string]bool)
	for _, a := range cluster.New(seed).Window(start, 15*time.Second) {
		if a.After <= after {
			keys[a.Flow.Key.String()] = true
		}
	}
	return len(keys)
}

func TestHistoryIsThereAtOnceAndTrafficComesInTime(t *testing.T) {
	p := begin(t, options{window: 15 * time.Second, seed: 3, history: 20})
	s := int64(1_700_000_010)
	require.Equal(t, want(3, s-20*15, time.Hour), p.keys(t, s-20*15))
	require.Zero(t, p.keys(t, s-21*15))
	require.Equal(t, want(3, s-15, 22*time.Second), p.keys(t, s-15), "what has arrived by now")

	for range 60 { // a minute, second by second
		require.NoError(t, p.clock.BlockUntilContext(t.Context(), 2)) // the ring's timer and the feeder's
		p.clock.Advance(time.Second)
	}
	all := want(3, s, 67*time.Second)
	require.Eventually(t, func() bool { return p.keys(t, s) == all }, patience, 10*time.Millisecond)
	p.stop()
	require.NoError(t, <-p.ended)
}

func TestClientThatCrashesItIsNamed(t *testing.T) {
	p := begin(t, options{window: 15 * time.Second, history: 0, quiet: true})
	stream, err := goldmane.NewFlowCollectorClient(p.client).Connect(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&goldmane.FlowUpdate{}))
	err = <-p.ended
	require.ErrorAs(t, err, new(crashError))
	require.ErrorContains(t, err, "ended as Goldmane would: an update came without a flow")
}

func TestFlagsAreRefusedWithAReason(t *testing.T) {
	for _, c := range []struct {
		args, want string
	}{
		{"--window 500ms", "'--window' is 500ms: must be whole seconds, 1s or more; Goldmane counts in seconds"},
		{"--history 239", "'--history' is 239: must be 0 to 238; Goldmane's ring holds no more windows"},
		{"--tls-cert a.pem", "'--tls-cert', '--tls-key' and '--tls-ca' go together: give all three for mutual TLS, or none for plaintext"},
		{"--tls-cert a.pem --tls-key b.pem --tls-ca c.pem", "a.pem"},
		{"--listen nowhere", "'--listen': listen tcp: address nowhere: missing port in address"},
		{"extra", `unknown command "extra" for "goldmane-sim"`},
	} {
		cmd := newCommand()
		cmd.SetArgs(strings.Fields(c.args))
		cmd.SetErr(io.Discard)
		require.ErrorContains(t, cmd.ExecuteContext(t.Context()), c.want)
	}
}
