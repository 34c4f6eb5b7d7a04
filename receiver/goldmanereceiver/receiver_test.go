package goldmanereceiver

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadatatest"
)

// patience bounds waiting for what happens at once; no test depends on its length.
const patience = 20 * time.Second

// rig is a Goldmane (the simulator behind a real gRPC server), a receiver with a
// clock of its own, and a pipeline that can refuse.
type rig struct {
	t         *testing.T
	goldmane  *sim.Goldmane
	server    *grpc.Server
	address   string
	ringClock *clockwork.FakeClock
	clock     *clockwork.FakeClock
	telemetry *componenttest.Telemetry
	logged    *observer.ObservedLogs
	receiver  *goldmaneReceiver

	extensions map[component.ID]component.Component

	// effect, if set, reports whether what the pipeline is about to take is taken; else
	// nobody hears of it.
	effect func() bool

	// rejectFlows makes the pipeline reject flows for good.
	rejectFlows atomic.Bool

	// mu guards what the receiver's goroutine writes and the test reads.
	mu       sync.Mutex
	sink     consumertest.LogsSink
	refuse   error
	refused  int
	deaf     bool // the pipeline takes flows, and never answers
	statuses []componentstatus.Status
	errs     []error
}

// newRig starts the parts but the receiver. intercept, if set, stands between the
// receiver and the simulator's List.
func newRig(t *testing.T, serverTLS *tls.Config, intercept grpc.UnaryServerInterceptor) *rig {
	t.Helper()
	now := time.Unix(windowStart, 0).Add(time.Second)
	r := &rig{t: t, ringClock: clockwork.NewFakeClockAt(now), clock: clockwork.NewFakeClockAt(now), telemetry: componenttest.NewTelemetry()}
	t.Cleanup(func() { require.NoError(t, r.telemetry.Shutdown(context.Background())) })
	r.goldmane = sim.New(sim.Options{Clock: r.ringClock})
	t.Cleanup(r.goldmane.Stop)
	r.serve("127.0.0.1:0", serverTLS, intercept)
	return r
}

func (r *rig) serve(address string, serverTLS *tls.Config, intercept grpc.UnaryServerInterceptor) {
	var opts []grpc.ServerOption
	if serverTLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(serverTLS)))
	}
	if intercept != nil {
		opts = append(opts, grpc.UnaryInterceptor(intercept))
	}
	listener, err := (&net.ListenConfig{}).Listen(r.t.Context(), "tcp", address)
	require.NoError(r.t, err)
	r.address = listener.Addr().String()
	server := grpc.NewServer(opts...)
	r.goldmane.Register(server)
	go func() { _ = server.Serve(listener) }()
	r.t.Cleanup(server.Stop)
	r.server = server
}

// config is for the rig's Goldmane in plaintext, with pauses that do not slow the
// test: they are on the fake clock.
func (r *rig) config() *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.Endpoint, cfg.TLS.Insecure = r.address, true
	cfg.Retry = RetryConfig{InitialInterval: time.Millisecond, MaxInterval: 10 * time.Millisecond}
	return cfg
}

// start starts a receiver.
func (r *rig) start(cfg *Config) {
	core, logged := observer.New(zapcore.DebugLevel)
	r.logged = logged
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = r.telemetry.NewTelemetrySettings()
	set.Logger = zap.New(core)
	set.ID = component.NewID(metadata.Type) // the same after a restart
	next, err := consumer.NewLogs(r.consume)
	require.NoError(r.t, err)
	receiver, err := newReceiver(set, cfg, next)
	require.NoError(r.t, err)
	receiver.clock = r.clock
	r.receiver = receiver
	require.NoError(r.t, receiver.Start(context.Background(), r))
	r.t.Cleanup(r.stop)
}

// stop stops the receiver, if it runs.
func (r *rig) stop() { require.NoError(r.t, r.receiver.Shutdown(context.Background())) }

func (r *rig) consume(ctx context.Context, logs plog.Logs) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, _ := logs.ResourceLogs().At(0).Resource().Attributes().Get(flowlog.ServiceName)
	if r.rejectFlows.Load() && name.Str() == flowlog.StreamFlows {
		return consumererror.NewPermanent(errors.New("400: bad timestamp"))
	}
	if r.refuse != nil {
		r.refused++
		// A component may spoil what it was given before it fails.
		logs.ResourceLogs().RemoveIf(func(plog.ResourceLogs) bool { return true })
		return r.refuse
	}
	if r.effect != nil && !r.effect() {
		return errors.New("it has crashed")
	}
	if err := r.sink.ConsumeLogs(ctx, logs); err != nil || !r.deaf || name.Str() != flowlog.StreamFlows {
		return err
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	return ctx.Err()
}

func (r *rig) setRefuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = err
}

// GetExtensions and Report make the rig the receiver's host.
func (r *rig) GetExtensions() map[component.ID]component.Component { return r.extensions }

func (r *rig) Report(event *componentstatus.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statuses = append(r.statuses, event.Status())
	r.errs = append(r.errs, event.Err())
}

func (r *rig) seenStatuses() []componentstatus.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.statuses)
}

// push puts a flow to the internet into the window that starts at start: its source's node
// alone decides it.
func (r *rig) push(start int64, change ...func(*goldmane.Flow)) {
	r.pushToPod(start, append([]func(*goldmane.Flow){toInternet}, change...)...)
}

func toInternet(f *goldmane.Flow) {
	f.Key.DestType, f.Key.DestNamespace, f.Key.DestName = goldmane.EndpointType_Network, "-", "pub"
	f.Key.DestServiceName, f.Key.DestServiceNamespace, f.Key.DestServicePortName, f.Key.DestServicePort = "-", "-", "-", 0
	f.DestLabels = nil
}

// pushToPod puts a flow between two workloads into the window that starts at start.
func (r *rig) pushToPod(start int64, change ...func(*goldmane.Flow)) {
	flow := row(change...).Flow
	flow.StartTime, flow.EndTime = start, start+15
	r.goldmane.Push(flow)
}

// advance lets time pass for both, once the receiver waits for it.
func (r *rig) advance(d time.Duration) {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	require.NoError(r.t, r.clock.BlockUntilContext(ctx, 1), "the receiver should be waiting")
	r.ringClock.Advance(d)
	r.clock.Advance(d)
}

// pass lets time pass until what is awaited has happened; for when the receiver
// waits an unknown number of times.
func (r *rig) pass(step time.Duration, happened func() bool, what string) {
	require.Eventually(r.t, func() bool {
		if happened() {
			return true
		}
		r.clock.Advance(step)
		return false
	}, patience, time.Millisecond, what)
}

// bodies are the lines of flows that have arrived, sorted.
func (r *rig) bodies() []string { return r.stream(flowlog.StreamFlows) }

// coverage are the lines of coverage and gap records that have arrived, sorted.
func (r *rig) coverage() []string { return r.stream(flowlog.StreamCoverage) }

func (r *rig) stream(stream string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, logs := range r.sink.AllLogs() {
		for _, rl := range logs.ResourceLogs().All() {
			if name, _ := rl.Resource().Attributes().Get(flowlog.ServiceName); name.Str() != stream {
				continue
			}
			for _, sl := range rl.ScopeLogs().All() {
				for _, lr := range sl.LogRecords().All() {
					all = append(all, lr.Body().Str())
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

func (r *rig) awaitRecords(n int) {
	require.Eventually(r.t, func() bool { return len(r.bodies()) >= n }, patience, time.Millisecond)
	require.Len(r.t, r.bodies(), n)
}

func (r *rig) awaitCoverage(line string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return slices.Contains(r.coverage(), line) }, patience, time.Millisecond, line)
}

// windowsOf are the windows that coverage records speak of, and how often.
func windowsOf(lines []string) map[string]int {
	windows := map[string]int{}
	for _, line := range lines {
		if fields := strings.Fields(line); fields[1] == "window" {
			windows[fields[2]]++
		}
	}
	return windows
}

func (r *rig) logContains(text string) func() bool {
	return func() bool {
		return slices.ContainsFunc(r.logged.All(), func(e observer.LoggedEntry) bool {
			err, _ := e.ContextMap()["error"].(string)
			return strings.Contains(e.Message+" "+err, text)
		})
	}
}

func port(p int64) func(*goldmane.Flow) {
	return func(f *goldmane.Flow) { f.Key.DestPort = p }
}

func TestHistoryThenEachWindowWhenItHasSettled(t *testing.T) {
	r := newRig(t, nil, nil)
	r.push(windowStart-15*200, port(1))
	r.push(windowStart-15*5, port(2))
	r.pushToPod(windowStart-15*5, port(6))
	r.pushToPod(windowStart-15*5, port(6), atDestination)
	r.push(windowStart-15*2, port(3)) // settled 45 s after its start: in 14 s
	r.start(r.config())
	r.awaitRecords(3)

	r.advance(13 * time.Second)
	r.push(windowStart-15*2, port(4)) // late for the stream, in time for us
	r.advance(time.Second)
	r.advance(15 * time.Second)
	r.push(windowStart, port(5))
	r.advance(14 * time.Second)
	r.advance(0)
	r.awaitRecords(3) // it is decided when the two windows after it have been listed
	r.advance(time.Second)
	r.awaitRecords(5)
	r.run(30 * time.Second)
	r.awaitRecords(6)

	for _, logs := range r.sink.AllLogs() {
		assert.Len(t, logs.ResourceLogs().At(0).Resource().Attributes().AsRaw(), 1, "the stream's name and nothing else")
	}
	assert.Empty(t, r.seenStatuses(), "nothing failed, nothing to say")
	metadatatest.AssertEqualGoldmaneRecordsEmitted(t, r.telemetry, sum(6), ignore)
	metadatatest.AssertEqualGoldmaneFlowsReceived(t, r.telemetry, sum(7), ignore)
	metadatatest.AssertEqualGoldmaneFlowsMerged(t, r.telemetry, sum(1, "by", "reporter"), ignore)
	assert.Len(t, windowsOf(r.coverage()), ringWindows+1, "every window has its coverage")
	assert.Contains(t, r.coverage(), "v2 window 2023-11-14T22:12:15Z 2023-11-14T22:12:30Z complete settled cause - flows 3 records 2 late 0 merged 1 discarded 0 raised 0 withheld 0 pairs 1 one_sided 0")
}

func TestTheSimulatorsClusterArrivesWhole(t *testing.T) {
	r := newRig(t, nil, nil)
	for _, row := range rows(1) {
		flow := row.Flow
		flow.StartTime, flow.EndTime = windowStart-90, windowStart-75
		r.goldmane.Push(flow)
	}
	cfg := r.config()
	cfg.MergeReporters = false
	r.start(cfg)
	keys := r.goldmane.Keys(windowStart - 90)
	require.Greater(t, keys, 100)
	r.run(6 * time.Minute) // what nobody has confirmed leaves last
	r.awaitRecords(keys)
}

func TestAWindowOfManyBatches(t *testing.T) {
	r := newRig(t, nil, nil)
	const n = 2*batchRecords + 7
	for i := range int64(n) {
		r.push(windowStart-90, port(1+i))
	}
	r.start(r.config())
	r.awaitRecords(n)
	r.mu.Lock()
	largest := 0
	for _, logs := range r.sink.AllLogs() {
		largest = max(largest, logs.LogRecordCount())
	}
	r.mu.Unlock()
	assert.Equal(t, batchRecords, largest)
	bodies := r.bodies()
	assert.Len(t, slices.Compact(bodies), n, "each record once")
}

func TestThePipelineRefusesForAWhile(t *testing.T) {
	r := newRig(t, nil, nil)
	r.push(windowStart-90, port(1))
	r.push(windowStart-75, port(2))
	r.setRefuse(errors.New("queue is full"))
	r.start(r.config())
	r.pass(10*time.Millisecond, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.refused >= 3
	}, "it should try again")
	assert.True(t, r.logContains("The pipeline refuses records")())
	r.setRefuse(nil)
	r.pass(10*time.Millisecond, func() bool { return len(r.bodies()) == 2 }, "both windows should arrive")
	assert.Len(t, slices.Compact(r.bodies()), 2, "each record once")
}

func TestThePipelineRejectsForGood(t *testing.T) {
	r := newRig(t, nil, nil)
	r.push(windowStart-90, port(1))
	r.rejectFlows.Store(true)
	r.start(r.config())
	require.Eventually(t, r.logContains("400: bad timestamp"), patience, time.Millisecond)
	r.awaitCoverage("v2 window 2023-11-14T22:12:00Z 2023-11-14T22:12:15Z partial settled cause rejected flows 1 records 1 late 0 merged 0 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0")
	metadatatest.AssertEqualGoldmaneRecordsRejected(t, r.telemetry, sum(1), ignore)

	r.rejectFlows.Store(false)
	r.push(windowStart-30, port(2))
	r.run(45 * time.Second)
	r.awaitRecords(1) // and it goes on
	r.run(5 * time.Minute)
	r.awaitCoverage("v2 window 2023-11-14T22:12:00Z 2023-11-14T22:12:15Z partial final cause rejected flows 1 records 1 late 0 merged 0 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0")
}

func TestGoldmaneGoesAwayAndComesBack(t *testing.T) {
	r := newRig(t, nil, nil)
	r.push(windowStart-90, port(1))
	r.server.Stop()
	r.start(r.config())
	r.pass(10*time.Millisecond, func() bool { return len(r.seenStatuses()) == 1 }, "it should report that it is not connected")
	r.pass(10*time.Millisecond, r.logContains("is Goldmane running, and may this host reach 'endpoint' "+r.address), "the log should say what to look at")

	r.serve(r.address, nil, nil)
	r.pass(10*time.Millisecond, func() bool { return len(r.bodies()) == 1 }, "the window should arrive")
	assert.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusOK}, r.seenStatuses(), "each state once")
	got, err := r.telemetry.GetMetric("goldtrail_goldmane_list_failures")
	require.NoError(t, err)
	assert.NotNil(t, got)
}

// tamper intercepts List with what f makes of it, for the window before the last
// four; other windows pass.
func tamper(f func(*goldmane.FlowListResult) (*goldmane.FlowListResult, error)) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		got, err := handler(ctx, req)
		if req.(*goldmane.FlowListRequest).StartTimeGte != windowStart-90 || err != nil {
			return got, err
		}
		return f(got.(*goldmane.FlowListResult))
	}
}

func TestAnAnswerOverTheLimit(t *testing.T) {
	r := newRig(t, nil, tamper(func(a *goldmane.FlowListResult) (*goldmane.FlowListResult, error) {
		a.Flows[0].Flow.SourceLabels = []string{strings.Repeat("x", 1<<20)}
		return a, nil
	}))
	r.push(windowStart-90, port(1))
	r.push(windowStart-75, port(2))
	cfg := r.config()
	cfg.MaxRecvMsgSizeMiB = 1
	r.start(cfg)
	r.awaitRecords(1) // the window behind it
	assert.True(t, r.logContains("raise 'max_recv_msg_size_mib', which is 1")())
	assert.Empty(t, r.seenStatuses(), "the connection is well")
}

func TestGoldmaneRefusesAWindow(t *testing.T) {
	r := newRig(t, nil, tamper(func(*goldmane.FlowListResult) (*goldmane.FlowListResult, error) {
		return nil, status.Error(codes.Unknown, "index out of range")
	}))
	r.push(windowStart-90, port(1))
	r.push(windowStart-75, port(2))
	r.start(r.config())
	r.pass(10*time.Millisecond, func() bool { return len(r.bodies()) == 1 }, "the window behind should arrive")
	assert.True(t, r.logContains("index out of range; Goldmane answered with an error; its log says more")())
	assert.Empty(t, r.seenStatuses(), "the connection is well")
}

func TestGoldmaneDoesNotAnswer(t *testing.T) {
	var hung atomic.Bool
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	r := newRig(t, nil, tamper(func(a *goldmane.FlowListResult) (*goldmane.FlowListResult, error) {
		if hung.CompareAndSwap(false, true) {
			<-release
		}
		return a, nil
	}))
	r.push(windowStart-90, port(1))
	cfg := r.config()
	cfg.ListTimeout = 50 * time.Millisecond
	r.start(cfg)
	r.pass(10*time.Millisecond, r.logContains("did not answer in 'list_timeout', 50ms"), "the log should name the key")
	r.pass(10*time.Millisecond, func() bool { return len(r.bodies()) == 1 }, "the second attempt should have it")
}

func TestOddRowsDoNotStopTheReceiver(t *testing.T) {
	r := newRig(t, nil, tamper(func(a *goldmane.FlowListResult) (*goldmane.FlowListResult, error) {
		noKey, nobody := proto.Clone(a.Flows[0]).(*goldmane.FlowResult), proto.Clone(a.Flows[0]).(*goldmane.FlowResult)
		noKey.Flow.Key = nil
		nobody.Flow.Key.Action = 7
		nobody.Flow.Key.Policies = nil
		a.Flows = append(a.Flows, &goldmane.FlowResult{}, noKey, nobody)
		return a, nil
	}))
	r.push(windowStart-90, port(1))
	r.push(windowStart-75, port(2))
	r.start(r.config())
	r.awaitRecords(3)
	metadatatest.AssertEqualGoldmaneFlowsDiscarded(t, r.telemetry, append(sum(1, "reason", "no_flow"), sum(1, "reason", "no_key")...), ignore)
	metadatatest.AssertEqualGoldmaneFlowsOdd(t, r.telemetry, append(sum(1, "reason", "unknown_enum"), sum(1, "reason", "no_policies")...), ignore)
}

func TestShutdownWhileThePipelineRefuses(t *testing.T) {
	r := newRig(t, nil, nil)
	r.push(windowStart-90, port(1))
	r.setRefuse(errors.New("queue is full"))
	r.start(r.config())
	r.pass(time.Millisecond, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.refused > 0
	}, "it should have tried")
	require.NoError(t, r.receiver.Shutdown(context.Background()))
	require.NoError(t, r.receiver.Shutdown(context.Background()), "twice does no harm")
}
