package goldmanereceiver

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/connector/edgesconnector"
	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	reader "github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/processor/svcidprocessor"
	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
)

// capture is what a real Goldmane answered, by window and by how long after the window's
// start it was asked, in seconds; 0 where it was asked once. testdata/captures/README.md
// says how they were made, and what was really sent.
type capture map[int64]map[int64][]byte

func readCapture(t *testing.T, name string) capture {
	t.Helper()
	archive, err := zip.OpenReader(filepath.Join("testdata", "captures", name+".zip"))
	require.NoError(t, err)
	defer func() { require.NoError(t, archive.Close()) }()
	c := capture{}
	for _, file := range archive.File {
		start, age, _ := strings.Cut(strings.TrimSuffix(file.Name, ".pb"), "-")
		at, err := strconv.ParseInt(start, 10, 64)
		require.NoError(t, err)
		after := int64(0)
		if age != "" {
			after, err = strconv.ParseInt(age, 10, 64)
			require.NoError(t, err)
		}
		f, err := file.Open()
		require.NoError(t, err)
		b, err := io.ReadAll(f)
		require.NoError(t, err)
		if c[at] == nil {
			c[at] = map[int64][]byte{}
		}
		c[at][after] = b
	}
	return c
}

// span is the first window's start and the last one's end.
func (c capture) span() (first, end int64) {
	first = 1 << 62
	for start := range c {
		first, end = min(first, start), max(end, start+15)
	}
	return first, end
}

// answer is what Goldmane answered at that time.
func (c capture) answer(start, now int64) []byte {
	var newest int64 = -1
	var b []byte
	for age, answer := range c[start] {
		if age <= now-start && age > newest {
			newest, b = age, answer
		}
	}
	return b
}

// play has a receiver read a capture, at the ages at which it would have, and returns when
// the last window is final. change, if not nil, changes an answer.
func (c capture) play(t *testing.T, cfg *Config, next consumer.Logs, change func(*goldmane.FlowListResult)) {
	t.Helper()
	first, end := c.span()
	clock := clockwork.NewFakeClockAt(time.Unix(first, 0))
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		var ask []byte
		if err := s.RecvMsg(&ask); err != nil {
			return err
		}
		var request goldmane.FlowListRequest
		if err := proto.Unmarshal(ask, &request); err != nil {
			return err
		}
		b := c.answer(request.StartTimeGte, clock.Now().Unix())
		if change != nil {
			var result goldmane.FlowListResult
			if err := proto.Unmarshal(b, &result); err != nil {
				return err
			}
			change(&result)
			var err error
			if b, err = proto.Marshal(&result); err != nil {
				return err
			}
		}
		return s.SendMsg(&b)
	}))
	t.Cleanup(server.Stop)
	cfg.Endpoint, cfg.TLS.Insecure, cfg.StartAt, cfg.MaxListShare = serve(t, server), true, StartAtNow, 1

	set := receivertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	var mu sync.Mutex
	done := int64(0)
	watched, err := consumer.NewLogs(func(ctx context.Context, logs plog.Logs) error {
		for _, lr := range records(logs) {
			if final, _ := lr.Attributes().Get(flowlog.CoverageFinal); lr.EventName() == flowlog.EventCoverage && final.Bool() {
				to, _ := lr.Attributes().Get(flowlog.FlowEnd)
				mu.Lock()
				done = max(done, to.Int())
				mu.Unlock()
			}
		}
		return next.ConsumeLogs(ctx, logs)
	})
	require.NoError(t, err)
	receiver, err := newReceiver(set, cfg, watched)
	require.NoError(t, err)
	receiver.clock = clock
	require.NoError(t, receiver.Start(t.Context(), componenttest.NewNopHost()))
	for finished := false; !finished; {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		require.NoError(t, clock.BlockUntilContext(ctx, 1), "the receiver should be waiting")
		cancel()
		clock.Advance(time.Second)
		mu.Lock()
		finished = done >= end
		mu.Unlock()
	}
	require.NoError(t, receiver.Shutdown(context.Background()))
}

// records are all log records of some logs.
func records(logs plog.Logs) []plog.LogRecord {
	var all []plog.LogRecord
	for _, rl := range logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				all = append(all, lr)
			}
		}
	}
	return all
}

// pipeline is what stands behind the receiver: svcid, the edges connector to logs and to
// metrics, and a file of OTLP JSON, as the Collector's file exporter writes it.
type pipeline struct {
	consumer.Logs
	file    string
	rollups []flowlog.Rollup
	metrics pmetric.Metrics
	stop    []func(context.Context) error
}

func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	p := &pipeline{file: filepath.Join(t.TempDir(), "trail.jsonl")}
	out, err := os.Create(p.file)
	require.NoError(t, err)
	t.Cleanup(func() { _ = out.Close() })
	var mu sync.Mutex // the connector has a goroutine of its own
	sink, err := consumer.NewLogs(func(_ context.Context, logs plog.Logs) error {
		mu.Lock()
		defer mu.Unlock()
		for _, lr := range records(logs) {
			if r, err := flowlog.ParseRollup(lr.Body().Str()); err == nil && r.End-r.Start == 86400 {
				p.rollups = append(p.rollups, r)
			}
		}
		line, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
		if err == nil {
			_, err = out.Write(append(line, '\n'))
		}
		return err
	})
	require.NoError(t, err)
	meters, err := consumer.NewMetrics(func(_ context.Context, metrics pmetric.Metrics) error {
		p.metrics = pmetric.NewMetrics()
		metrics.CopyTo(p.metrics)
		return nil
	})
	require.NoError(t, err)

	edges := edgesconnector.NewFactory()
	conf := edges.CreateDefaultConfig().(*edgesconnector.Config)
	conf.Metrics.Interval = 24 * time.Hour // once, at the end
	set := connectortest.NewNopSettings(edges.Type())
	toLogs, err := edges.CreateLogsToLogs(t.Context(), set, conf, sink)
	require.NoError(t, err)
	toMetrics, err := edges.CreateLogsToMetrics(t.Context(), set, conf, meters)
	require.NoError(t, err)
	all, err := consumer.NewLogs(func(ctx context.Context, logs plog.Logs) error {
		return errors.Join(toLogs.ConsumeLogs(ctx, logs), toMetrics.ConsumeLogs(ctx, logs), sink.ConsumeLogs(ctx, logs))
	})
	require.NoError(t, err)

	svcid := svcidprocessor.NewFactory()
	identity := svcid.CreateDefaultConfig().(*svcidprocessor.Config)
	identity.MultiServiceNamespaces = []string{"monitoring", "kube-system", "dbaas"}
	identity.Labels = []string{"service-identity", "k8s-app"}
	stamper, err := svcid.CreateLogs(t.Context(), processortest.NewNopSettings(svcid.Type()), identity, all)
	require.NoError(t, err)
	for _, c := range []component.Component{toLogs, toMetrics, stamper} {
		require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
		p.stop = append(p.stop, c.Shutdown)
	}
	p.Logs = stamper
	return p
}

// end has all that is known handed on.
func (p *pipeline) end(t *testing.T) {
	t.Helper()
	for _, stop := range p.stop {
		require.NoError(t, stop(context.Background()))
	}
}

// edge is one of a capture's table: source, destination, port, outcome.
type edge struct{ source, destination, port, action string }

// started is how many connections each edge started, by flow records as the command reads
// them.
func (p *pipeline) started(t *testing.T, from, to int64) (map[edge]int64, *reader.EdgesAnswer) {
	t.Helper()
	asked := &reader.Trail{Source: &reader.File{Path: p.file}, Clock: clockwork.NewFakeClockAt(time.Unix(to+3600, 0))}
	answer, err := asked.Edges(t.Context(), &reader.EdgesQuestion{Span: reader.Span{From: time.Unix(from, 0), To: time.Unix(to, 0)}})
	require.NoError(t, err)
	got := map[edge]int64{}
	for i := range answer.Edges {
		e := &answer.Edges[i]
		got[edge{e.Source, e.Destination, portText(e.Port, e.Transport), e.Action}] = e.ConnectionsStarted
	}
	return got, answer
}

// rolledUp is the same by the connector's rollups of the day, the last of each.
func (p *pipeline) rolledUp() map[edge]int64 {
	last := map[flowlog.Edge]flowlog.Rollup{}
	for _, r := range p.rollups {
		if r.Sequence >= last[r.Edge].Sequence {
			last[r.Edge] = r
		}
	}
	got := map[edge]int64{}
	for e, r := range last {
		got[edge{e.Source, e.Destination, portText(e.Port, e.Transport), e.Action}] = r.ConnectionsStarted
	}
	return got
}

// metered is the same by the connector's metrics.
func (p *pipeline) metered() map[edge]int64 {
	got := map[edge]int64{}
	for _, rm := range p.metrics.ResourceMetrics().All() {
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			if m.Name() != "calico.edge.connections" {
				continue
			}
			for _, point := range m.Sum().DataPoints().All() {
				of := point.Attributes().AsRaw()
				text := func(key string) string { v, _ := of[key].(string); return v }
				port, _ := of[flowlog.DestinationPort].(int64)
				got[edge{text(flowlog.SourceIdentity), text(flowlog.DestinationIdentity), portText(port, text(flowlog.NetworkTransport)), text(flowlog.FlowAction)}] += point.IntValue()
			}
		}
	}
	return got
}

func portText(port int64, transport string) string {
	if port == 0 {
		return transport
	}
	return strconv.FormatInt(port, 10) + "/" + transport
}

// What clients counted while the captures were made, through the whole pipeline: the
// receiver at the capture's ages, svcid, the edges connector, and the reader. Until issue 12
// it was wrong in one of twenty windows: 93 connections of sandbox to payments, all denied,
// were 91 denied and 6 allowed, and 174 to the DNS were 182.
func TestCaptures(t *testing.T) {
	const allow, deny = flowlog.ActionAllow, flowlog.ActionDeny
	for name, want := range map[string]map[edge]int64{
		"felix-3.30.7-steady": {
			{"frontend", "payments", "8080/tcp", allow}:                        833,
			{"payments", "dbaas/orders-db", "8080/tcp", allow}:                 659,
			{"frontend", "kube-system/kube-dns", "8080/tcp", allow}:            174,
			{"monitoring/prometheus", "monitoring/grafana", "8080/tcp", allow}: 75,
			{"monitoring/?", "monitoring/grafana", "8080/tcp", allow}:          75,
			{"monitoring/prometheus", "payments", "8080/tcp", deny}:            55,
			{"sandbox", "payments", "8080/tcp", deny}:                          93,
			{"sandbox", "dbaas/orders-db", "8080/tcp", deny}:                   62,
			{"sandbox", "internet", "443/tcp", deny}:                           76,
			{"frontend", "payments", "icmp", deny}:                             65,
			{"host:node2", "frontend", "8080/tcp", allow}:                      76,
			{"private", "frontend", "8080/tcp", allow}:                         75,
			{"frontend", "host:node2", "10250/tcp", allow}:                     76,
			{"payments", "networkset:psp", "443/tcp", allow}:                   119,
			{"payments", "private", "443/tcp", allow}:                          119,
		},
		"felix-3.30.7-policy-changes": {
			{"frontend", "payments", "8080/tcp", allow}:                        406,
			{"payments", "dbaas/orders-db", "8080/tcp", allow}:                 322,
			{"frontend", "kube-system/kube-dns", "8080/tcp", allow}:            83,
			{"monitoring/prometheus", "monitoring/grafana", "8080/tcp", allow}: 34,
			{"monitoring/?", "monitoring/grafana", "8080/tcp", allow}:          34,
			{"monitoring/prometheus", "payments", "8080/tcp", deny}:            24,
			{"sandbox", "payments", "8080/tcp", deny}:                          42,
			{"sandbox", "dbaas/orders-db", "8080/tcp", deny}:                   29,
			{"sandbox", "internet", "443/tcp", deny}:                           34,
			{"frontend", "payments", "icmp", deny}:                             29,
			{"host:node2", "frontend", "8080/tcp", allow}:                      34,
			{"private", "frontend", "8080/tcp", allow}:                         34,
			{"frontend", "host:node2", "10250/tcp", allow}:                     34,
			{"payments", "networkset:psp", "443/tcp", allow}:                   56,
			{"payments", "private", "443/tcp", allow}:                          56,
		},
		"felix-3.32.1-node-cut-off": {
			{"frontend", "payments", "8080/tcp", allow}:                        705,
			{"payments", "dbaas/orders-db", "8080/tcp", allow}:                 563,
			{"frontend", "kube-system/kube-dns", "8080/tcp", allow}:            144,
			{"frontend", "kube-system/kube-dns", "5353/udp", allow}:            1,
			{"monitoring/prometheus", "monitoring/grafana", "8080/tcp", allow}: 60,
			{"monitoring/prometheus", "monitoring/grafana", "9000/tcp", allow}: 1,
			{"monitoring/?", "monitoring/grafana", "8080/tcp", allow}:          59,
			{"batch", "monitoring/grafana", "8080/tcp", allow}:                 36,
			{"monitoring/prometheus", "payments", "8080/tcp", deny}:            43,
			{"sandbox", "payments", "8080/tcp", deny}:                          74,
			{"sandbox", "dbaas/orders-db", "8080/tcp", deny}:                   50,
			{"sandbox", "internet", "443/tcp", deny}:                           59,
			{"frontend", "payments", "icmp", deny}:                             50,
			{"host:node2", "frontend", "8080/tcp", allow}:                      59,
			{"private", "frontend", "8080/tcp", allow}:                         59,
			{"frontend", "host:node2", "10250/tcp", allow}:                     60,
			{"payments", "networkset:psp", "443/tcp", allow}:                   98,
			{"payments", "private", "443/tcp", allow}:                          98,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := readCapture(t, name), newPipeline(t)
			c.play(t, createDefaultConfig().(*Config), p, nil)
			p.end(t)
			first, end := c.span()
			got, answer := p.started(t, first, end)
			assert.Equal(t, want, got, "by flow records")
			assert.Equal(t, want, p.rolledUp(), "by rollups")
			assert.Equal(t, want, p.metered(), "by metrics")

			// The windows in which a node was cut off are named, and no others.
			var holes []int64
			for _, h := range answer.Coverage.Holes {
				assert.Equal(t, flowlog.CauseNodesSilent, h.Cause)
				for at := h.From.Unix(); at < h.To.Unix(); at += 15 {
					holes = append(holes, at)
				}
			}
			if name != "felix-3.32.1-node-cut-off" {
				assert.Empty(t, holes)
				return
			}
			const cutFrom, cutTo, twoWindows = 1795594290, 1795594335, 30 // the first window, and the last
			require.NotEmpty(t, holes)
			assert.InDelta(t, cutFrom, slices.Min(holes), twoWindows)
			assert.InDelta(t, cutTo, slices.Max(holes), twoWindows)
		})
	}
}

// Where the source's node is silent, the destination's reports count. A policy that was
// replaced every 21 s made its node report one flow under both: 610 connections in all
// where there were 406.
func TestCaptureWithoutTheSource(t *testing.T) {
	c, p := readCapture(t, "felix-3.30.7-policy-changes"), newPipeline(t)
	c.play(t, createDefaultConfig().(*Config), p, func(a *goldmane.FlowListResult) {
		a.Flows = slices.DeleteFunc(a.Flows, func(f *goldmane.FlowResult) bool { return f.Flow.Key.Reporter == goldmane.Reporter_Src })
	})
	p.end(t)
	first, end := c.span()
	got, _ := p.started(t, first, end)
	assert.InEpsilon(t, 406, got[edge{"frontend", "payments", "8080/tcp", flowlog.ActionAllow}], 0.05)
}

// What the settings leave of a record changes no outcome and no sum.
func TestCaptureWithReportersApart(t *testing.T) {
	c, p, apart := readCapture(t, "felix-3.32.1-node-cut-off"), newPipeline(t), newPipeline(t)
	c.play(t, createDefaultConfig().(*Config), p, nil)
	p.end(t)
	cfg := createDefaultConfig().(*Config)
	cfg.MergeReporters = false
	c.play(t, cfg, apart, nil)
	apart.end(t)
	first, end := c.span()
	want, _ := p.started(t, first, end)
	got, _ := apart.started(t, first, end)
	assert.Equal(t, want, got)
}
