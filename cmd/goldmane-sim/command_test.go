package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// program is a running simulator and a client of it.
type program struct {
	truth  string // its address
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
		if truth, ok := strings.CutPrefix(lines.Text(), "goldmane-sim: truth at "); ok {
			p.truth = truth
		}
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

// want is the number of keys that the cluster has sent for a window by the time at, to a
// Goldmane whose first window began at begin.
func want(seed uint64, begin, start int64, at time.Time) int {
	keys := make(map[string]bool)
	for _, a := range cluster.New(seed).Arrivals(time.Unix(begin, 0), at.Add(1), 15*time.Second) {
		if s := a.Flow.StartTime; start <= s && s < start+15 {
			keys[a.Flow.Key.String()] = true
		}
	}
	return len(keys)
}

func TestHistoryIsThereAtOnceAndTrafficComesInTime(t *testing.T) {
	p := begin(t, options{window: 15 * time.Second, seed: 3, history: 20})
	s := int64(1_700_000_010)
	first, now := s-20*15, p.clock.Now()
	require.Equal(t, want(3, first, first, now), p.keys(t, first))
	require.Greater(t, p.keys(t, first), 500)
	require.Zero(t, p.keys(t, first-15))
	require.Equal(t, want(3, first, s-15, now), p.keys(t, s-15), "what has arrived by now")

	for range 60 { // a minute, second by second
		require.NoError(t, p.clock.BlockUntilContext(t.Context(), 2)) // the ring's timer and the feeder's
		p.clock.Advance(time.Second)
	}
	all := want(3, first, s, p.clock.Now())
	require.Greater(t, all, 500)
	require.Eventually(t, func() bool { return p.keys(t, s) == all }, patience, 10*time.Millisecond)
	p.stop()
	require.NoError(t, <-p.ended)
}

func TestTruthIsTold(t *testing.T) {
	const from, to = 1_700_000_000, 1_700_000_600
	until := time.Unix(to-100, 0)
	p := begin(t, options{window: 15 * time.Second, seed: 3, history: 0, quiet: true, truthListen: "127.0.0.1:0", calm: true, until: until.Unix()})
	get := func(query string) (int, []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.truth+query, http.NoBody)
		require.NoError(t, err)
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, errors.Join(err, resp.Body.Close()))
		return resp.StatusCode, body
	}
	status, body := get(fmt.Sprintf("?from=%d&to=%d", from, to))
	require.Equal(t, http.StatusOK, status)
	var got []traffic.Truth
	require.NoError(t, json.Unmarshal(body, &got))
	c := cluster.With(3, cluster.Options{Calm: true, End: until})
	require.Equal(t, c.Truth(time.Unix(from, 0), time.Unix(to, 0), 15*time.Second), got)
	require.Greater(t, len(got), 500)

	_, body = get(fmt.Sprintf("?from=%d&to=%d", to, to+60))
	require.Equal(t, "[]\n", string(body), "traffic has ended")
	for query, want := range map[string]string{
		"?to=7":           `"from" is "": must be seconds since 1970`,
		"?from=7&to=x":    `"to" is "x": must be seconds since 1970`,
		"?from=7&to=6":    `from "from" to "to" it is -1s: must be 0s to 24h0m0s`,
		"?from=0&to=1e10": `"to" is "1e10": must be seconds since 1970`,
	} {
		status, body = get(query)
		require.Equal(t, http.StatusBadRequest, status)
		require.Equal(t, want+"\n", string(body))
	}
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
		{"--from 5 --until 5", "'--from' is 5 and '--until' is 5: must be seconds since 1970, the second after the first, or 0"},
		{"--truth-listen nowhere --listen 127.0.0.1:0", "'--truth-listen': listen tcp: address nowhere: missing port in address"},
		{"--listen nowhere", "'--listen': listen tcp: address nowhere: missing port in address"},
		{"extra", `unknown command "extra" for "goldmane-sim"`},
	} {
		cmd := newCommand()
		cmd.SetArgs(strings.Fields(c.args))
		cmd.SetErr(io.Discard)
		require.ErrorContains(t, cmd.ExecuteContext(t.Context()), c.want)
	}
}
