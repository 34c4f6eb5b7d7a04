package conformance

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// patience is how long a behaviour may take to show. It is not what the suite waits
// where all is well.
const patience = 20 * time.Second

// goldmaneServer is a running Goldmane, real or simulated.
type goldmaneServer interface {
	addr() string
	window() int64 // seconds
	now() int64    // its clock, seconds since the epoch
	// until returns when the clock shows t or more.
	until(t *testing.T, at int64)
	// ended is closed when the process is gone of itself.
	ended() <-chan struct{}
	stop()
}

// maker starts a Goldmane. Files is where its certificates are, if it is to use TLS.
type maker func(t *testing.T, files *pki) goldmaneServer

func makers() map[string]maker {
	m := map[string]maker{"simulator": startSimulator}
	if bin := os.Getenv("GOLDMANE_BIN"); bin != "" {
		m["real"] = func(t *testing.T, files *pki) goldmaneServer { return startReal(t, bin, files) }
	}
	return m
}

// target is the Goldmane that a behaviour is tried on, and a client of it.
type target struct {
	goldmaneServer
	start maker
	flows goldmane.FlowsClient
	conn  *grpc.ClientConn
	w     int64 // length of a window, seconds
	seq   int64
}

func newTarget(t *testing.T, start maker) *target {
	srv := start(t, nil)
	t.Cleanup(srv.stop)
	g := &target{goldmaneServer: srv, start: start, w: srv.window()}
	g.conn = dial(t, srv.addr(), nil)
	g.flows = goldmane.NewFlowsClient(g.conn)
	return g
}

// restart ends the Goldmane and starts another.
func (g *target) restart(t *testing.T) *target {
	g.stop()
	return newTarget(t, g.start)
}

func dial(t *testing.T, addr string, conf *tls.Config, opts ...grpc.DialOption) *grpc.ClientConn {
	creds := insecure.NewCredentials()
	if conf != nil {
		creds = credentials.NewTLS(conf)
	}
	opts = append(opts, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
	conn, err := grpc.NewClient("passthrough:///"+addr, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// current is the start of the window that the clock is in.
func (g *target) current() int64 { return g.floor(g.now()) }

func (g *target) floor(t int64) int64 { return t - t%g.w }

// past is a window that was over long before the test began.
func (g *target) past() int64 { return g.current() - 50*g.w }

// fresh waits for a window to begin and returns its start.
func (g *target) fresh(t *testing.T) int64 {
	s := g.current() + g.w
	g.until(t, s)
	return s
}

// steady waits until the ring's first rollovers, which are out of step, are over.
func (g *target) steady(t *testing.T) { g.until(t, g.current()+4*g.w) }

// before says whether this is a real Goldmane of an earlier version. The simulator
// models the newest.
func (g *target) before(version string) bool {
	if _, ok := g.goldmaneServer.(*process); !ok {
		return false
	}
	have := os.Getenv("GOLDMANE_VERSION")
	return have != "" && number(have) < number(version)
}

func number(version string) int {
	n := 0
	parts := strings.Split(strings.TrimPrefix(version, "v")+".0.0", ".")
	for _, p := range parts[:3] {
		i, err := strconv.Atoi(p)
		if err != nil {
			panic(fmt.Sprintf("GOLDMANE_VERSION has %q where a number must be: give it as 3.32.1", p))
		}
		n = n*1000 + i
	}
	return n
}

// flow is one with a key that only its name sets apart.
func (g *target) flow(name string, start int64) *goldmane.Flow {
	return &goldmane.Flow{
		Key: &goldmane.FlowKey{
			SourceName: name, SourceNamespace: "shop", SourceType: goldmane.EndpointType_WorkloadEndpoint,
			DestName: "api-*", DestNamespace: "payments", DestType: goldmane.EndpointType_WorkloadEndpoint, DestPort: 8080,
			DestServiceName: "api", DestServiceNamespace: "payments", DestServicePortName: "http", DestServicePort: 80,
			Proto: "tcp", Reporter: goldmane.Reporter_Src, Action: goldmane.Action_Allow,
			Policies: &goldmane.PolicyTrace{
				EnforcedPolicies: []*goldmane.PolicyHit{{
					Kind: goldmane.PolicyKind_Profile, Name: "kns.shop", Action: goldmane.Action_Allow,
				}},
			},
		},
		StartTime: start, EndTime: start,
		SourceLabels: []string{"app=web"}, DestLabels: []string{"app=api"},
		PacketsIn: 1, PacketsOut: 2, BytesIn: 30, BytesOut: 40,
		NumConnectionsStarted: 5, NumConnectionsCompleted: 6, NumConnectionsLive: 7,
	}
}

// push sends flows over a connection of their own, as one node, and returns when
// Goldmane has worked them off: when a last flow, sent after them, is listed.
func (g *target) push(t *testing.T, flows ...*goldmane.Flow) {
	g.seq++
	last := g.flow(fmt.Sprint("marker-", g.seq), g.current()-200*g.w)
	last.Key.SourceNamespace = markers
	conn := dial(t, g.addr(), nil)
	g.sendAll(t, conn, append(flows, last)...)
	require.Eventually(t, func() bool {
		res, err := g.flows.List(bounded(t), &goldmane.FlowListRequest{
			StartTimeGte: last.StartTime, StartTimeLt: last.StartTime + g.w,
		})
		require.NoError(t, err)
		return find(res.Flows, last.Key.SourceName) != nil
	}, patience, 5*time.Millisecond, "the flows never came to be in the ring")
}

// markers is the namespace of flows that only tell how far Goldmane is.
const markers = "markers"

// sendAll sends flows and waits for all of their receipts.
func (g *target) sendAll(t *testing.T, conn *grpc.ClientConn, flows ...*goldmane.Flow) {
	stream, err := goldmane.NewFlowCollectorClient(conn).Connect(bounded(t))
	require.NoError(t, err)
	sent := make(chan error, 1)
	go func() {
		for _, f := range flows {
			if err := stream.Send(&goldmane.FlowUpdate{Flow: f}); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	for range flows {
		_, err := stream.Recv()
		require.NoError(t, err, "a receipt is missing")
	}
	require.NoError(t, <-sent)
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF, "there is a receipt too many")
}

// list is what List has from gte to lt, markers left out.
func (g *target) list(t *testing.T, gte, lt int64) []*goldmane.FlowResult {
	res, err := g.flows.List(bounded(t), &goldmane.FlowListRequest{StartTimeGte: gte, StartTimeLt: lt})
	require.NoError(t, err)
	return withoutMarkers(res.Flows)
}

func withoutMarkers(rows []*goldmane.FlowResult) []*goldmane.FlowResult {
	var own []*goldmane.FlowResult
	for _, r := range rows {
		if r.Flow.Key.SourceNamespace != markers {
			own = append(own, r)
		}
	}
	return own
}

func find(rows []*goldmane.FlowResult, name string) *goldmane.FlowResult {
	for _, r := range rows {
		if r.Flow.Key.SourceName == name {
			return r
		}
	}
	return nil
}

func names(rows []*goldmane.FlowResult) []string {
	ns := []string{}
	for _, r := range rows {
		ns = append(ns, r.Flow.Key.SourceName)
	}
	return ns
}
