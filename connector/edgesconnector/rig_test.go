package edgesconnector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/goldtrail/goldtrail/connector/edgesconnector/internal/metadata"
	"github.com/goldtrail/goldtrail/internal/flowlog"
)

const (
	patience     = 10 * time.Second
	windowLength = 15
	// hourStart is midnight, so that a day begins with it.
	hourStart = int64(1_763_769_600)
)

var fileStorage = component.MustNewID("file_storage")

// rig is a connector between a test and a sink.
type rig struct {
	t     testing.TB
	cfg   *Config
	clock *clockwork.FakeClock
	sink  *sink
	// storage is shared by all connectors of the test; nil is none.
	storage    *memory
	connector  *rollups
	telemetry  *componenttest.Telemetry
	warnings   *observer.ObservedLogs // and errors
	extensions map[component.ID]component.Component
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{
		t: t, cfg: createDefaultConfig().(*Config), clock: clockwork.NewFakeClockAt(time.Unix(hourStart, 0)), sink: &sink{},
		extensions: map[component.ID]component.Component{},
	}
	r.cfg.KnownEdges.Learn = 0
	return r
}

// withStorage has the connector keep what it has.
func (r *rig) withStorage() *rig {
	r.storage = &memory{values: map[string][]byte{}}
	r.extensions[fileStorage] = r.storage
	r.cfg.StorageID = &fileStorage
	return r
}

// GetExtensions makes a rig a component.Host.
func (r *rig) GetExtensions() map[component.ID]component.Component { return r.extensions }

func (r *rig) start() *rig {
	r.t.Helper()
	require.NoError(r.t, r.cfg.Validate())
	r.telemetry = componenttest.NewTelemetry()
	set := connectortest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	set.TelemetrySettings = r.telemetry.NewTelemetrySettings()
	core, warnings := observer.New(zap.WarnLevel)
	set.Logger, r.warnings = zap.New(core), warnings
	next, err := consumer.NewLogs(r.sink.consume)
	require.NoError(r.t, err)
	r.connector, err = newRollups(set, r.cfg, next)
	require.NoError(r.t, err)
	r.connector.clock = r.clock
	require.NoError(r.t, r.connector.Start(context.Background(), r))
	return r
}

// crash ends the connector as SIGKILL would: nothing is handed on, nothing is stored.
func (r *rig) crash() {
	r.connector.stop()
	r.connector.done.Wait()
	require.NoError(r.t, r.telemetry.Shutdown(context.Background()))
}

func (r *rig) shutdown() {
	r.t.Helper()
	require.NoError(r.t, r.connector.Shutdown(context.Background()))
	require.NoError(r.t, r.telemetry.Shutdown(context.Background()))
}

// give hands records to the connector.
func (r *rig) give(logs plog.Logs) {
	r.t.Helper()
	require.NoError(r.t, r.connector.ConsumeLogs(context.Background(), logs))
}

// say has the connector hand on what there is, as every ten seconds.
func (r *rig) say() { r.connector.say(context.Background(), false) }

// entry is the key of an entry of the journal that is being written.
func (r *rig) entry(n int64) string { return journalKey(r.connector.store.epoch, n) }

// discarded are the records that should have counted and did not, by reason.
func (r *rig) discarded() map[string]int64 {
	r.t.Helper()
	got, err := r.telemetry.GetMetric("goldtrail_edges_records_discarded")
	require.NoError(r.t, err)
	reasons := map[string]int64{}
	for _, p := range got.Data.(metricdata.Sum[int64]).DataPoints {
		reason, _ := p.Attributes.Value("reason")
		reasons[reason.AsString()] = p.Value
	}
	return reasons
}

// at sets the clock, forward.
func (r *rig) at(seconds int64) {
	if by := time.Unix(seconds, 0).Sub(r.clock.Now()); by > 0 {
		r.clock.Advance(by)
	}
}

// sink is what comes next.
type sink struct {
	// mu guards what follows.
	mu     sync.Mutex
	refuse error
	// refused is in the first line of what is refused.
	refused string
	lines   map[string][]string                  // by stream, but for closing records
	closed  map[string]map[int64]flowlog.Closing // by stream and start, the last
	wrong   []string                             // closing records that came before a rollup of theirs, or take something back
	took    []plog.Logs
}

func (s *sink) consume(_ context.Context, logs plog.Logs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().Str()
	if s.refuse != nil && strings.Contains(first, s.refused) {
		return s.refuse
	}
	s.took = append(s.took, logs)
	if s.lines == nil {
		s.lines, s.closed = map[string][]string{}, map[string]map[int64]flowlog.Closing{}
	}
	for _, resource := range logs.ResourceLogs().All() {
		stream, _ := resource.Resource().Attributes().Get(flowlog.ServiceName)
		for _, record := range resource.ScopeLogs().At(0).LogRecords().All() {
			line := record.Body().Str()
			closing, err := flowlog.ParseClosing(line)
			if err != nil {
				s.lines[stream.Str()] = append(s.lines[stream.Str()], line)
				continue
			}
			before := s.closed[stream.Str()][closing.Start]
			if s.finals(stream.Str(), closing.Start) < int(closing.Edges) || closing.Sequence < before.Sequence {
				s.wrong = append(s.wrong, line)
			}
			if s.closed[stream.Str()] == nil {
				s.closed[stream.Str()] = map[int64]flowlog.Closing{}
			}
			s.closed[stream.Str()][closing.Start] = closing
		}
	}
	return nil
}

// finals is how many edges have a final rollup of an interval.
func (s *sink) finals(stream string, start int64) int {
	edges := map[flowlog.Edge]bool{}
	for _, line := range s.lines[stream] {
		if r, err := flowlog.ParseRollup(line); err == nil && r.Final && r.Start == start {
			edges[r.Edge] = true
		}
	}
	return len(edges)
}

// closings are the closing records of a stream, by start, and none of them came early.
func (s *sink) closings(t testing.TB, stream string) map[int64]flowlog.Closing {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.wrong, "closed before all was said, or with less than before")
	return maps.Clone(s.closed[stream])
}

func (s *sink) setRefuse(err error) { s.setRefuseOf("", err) }

func (s *sink) setRefuseOf(first string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused, s.refuse = first, err
}

// all are the lines of a stream.
func (s *sink) all(stream string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines[stream])
}

// said is what a reader knows: of each edge and interval, what has the highest sequence.
type said map[edgeInterval]flowlog.Rollup

type edgeInterval struct {
	edge  flowlog.Edge
	start int64
}

// rollups reads a stream's rollups. That two of one sequence say the same is required.
func (s *sink) rollups(t testing.TB, stream string) said {
	t.Helper()
	last := said{}
	for _, line := range s.all(stream) {
		r, err := flowlog.ParseRollup(line)
		if errors.Is(err, flowlog.ErrNotARollup) {
			_, err = flowlog.ParseFirstSeen(line)
			require.NoError(t, err)
			continue
		}
		require.NoError(t, err)
		of := edgeInterval{r.Edge, r.Start}
		before, ok := last[of]
		if ok && before.Sequence == r.Sequence {
			require.Equal(t, before, r, "two rollups of one sequence")
		}
		if !ok || r.Sequence > before.Sequence {
			last[of] = r
		}
	}
	return last
}

// events reads the first_seen events.
func (s *sink) events(t testing.TB) []flowlog.FirstSeen {
	t.Helper()
	var events []flowlog.FirstSeen
	for _, line := range s.all(flowlog.StreamEdges) {
		if e, err := flowlog.ParseFirstSeen(line); err == nil {
			events = append(events, e)
		}
	}
	return events
}

// memory is a storage extension of one client.
type memory struct {
	component.StartFunc
	component.ShutdownFunc
	// mu guards what follows.
	mu     sync.Mutex
	values map[string][]byte
	fails  error
	// hidden is a key that cannot be read.
	hidden string
}

func (m *memory) setFails(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = err
}

// all is what is stored.
func (m *memory) all() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.values)
}

// hide has a key that cannot be read, "" for none.
func (m *memory) hide(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hidden = key
}

func (m *memory) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	return m, nil
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, error) {
	op := storage.GetOperation(key)
	err := m.Batch(ctx, op)
	return op.Value, err
}

func (m *memory) Set(ctx context.Context, key string, value []byte) error {
	return m.Batch(ctx, storage.SetOperation(key, value))
}

func (m *memory) Delete(ctx context.Context, key string) error {
	return m.Batch(ctx, storage.DeleteOperation(key))
}

func (m *memory) Batch(_ context.Context, ops ...*storage.Operation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return m.fails
	}
	for _, op := range ops {
		switch op.Type {
		case storage.Get:
			if op.Key == m.hidden {
				return errors.New("cannot be read")
			}
			op.Value = slices.Clone(m.values[op.Key])
		case storage.Set:
			m.values[op.Key] = slices.Clone(op.Value)
		case storage.Delete:
			delete(m.values, op.Key)
		}
	}
	return nil
}

func (m *memory) Close(context.Context) error { return nil }

// newFileStorage returns the real extension, in a folder.
func newFileStorage(t testing.TB, folder string, fsync bool) component.Component {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig().(*filestorage.Config)
	cfg.Directory, cfg.FSync = folder, fsync
	extension, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), cfg)
	require.NoError(t, err)
	require.NoError(t, extension.Start(context.Background(), componenttest.NewNopHost()))
	return extension
}

// flow is a flow of window w, counted from hourStart, between two services, with a number
// of bytes that also tells it apart.
func flow(w int64, source, destination, reporter string, bytes int64) flowlog.Flow {
	start := hourStart + w*windowLength
	return flowlog.Flow{
		Source:      flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: source, Name: "pod-*"},
		Destination: flowlog.Endpoint{Type: flowlog.TypeWorkload, Namespace: destination, Name: "pod-*"},
		Transport:   "tcp", Port: 8080, Action: flowlog.ActionAllow, Reporter: reporter,
		Deciding: "np:default/" + destination + "/allow#0=allow",
		Start:    start, End: start + windowLength, Counts: true,
		Counters: flowlog.Counters{
			SourcePackets: 1, SourceBytes: bytes, DestinationPackets: 2, DestinationBytes: 2 * bytes,
			ConnectionsStarted: 3, ConnectionsCompleted: 1, ConnectionsLive: 9,
		},
	}
}

// notCounted is a flow whose record is in no sum.
func notCounted(f flowlog.Flow) flowlog.Flow {
	f.Counts = false
	return f
}

func edgeOf(f *flowlog.Flow) flowlog.Edge {
	return flowlog.Edge{Source: f.Source.Namespace, Destination: f.Destination.Namespace, Port: f.Port, Transport: f.Transport, Action: f.Action}
}

// records are logs of one stream.
func records(stream string, n int, write func(i int, lr plog.LogRecord)) plog.Logs {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(flowlog.ServiceName, stream)
	resource.Resource().Attributes().PutStr(flowlog.ClusterName, "test")
	slice := resource.ScopeLogs().AppendEmpty().LogRecords()
	for i := range n {
		write(i, slice.AppendEmpty())
	}
	return logs
}

// flows are flow records as they come from svcid.
func flows(all ...flowlog.Flow) plog.Logs {
	return records(flowlog.StreamFlows, len(all), func(i int, lr plog.LogRecord) { writeFlow(&all[i], lr) })
}

func writeFlow(f *flowlog.Flow, lr plog.LogRecord) {
	line, key := f.AppendLine(nil)
	f.WriteTo(lr, string(line), key)
	lr.Attributes().PutStr(flowlog.SourceIdentity, f.Source.Namespace)
	lr.Attributes().PutStr(flowlog.DestinationIdentity, f.Destination.Namespace)
}

// covers are coverage records of the windows from one up to and not including another,
// counted from hourStart.
func covers(from, to int64, status string, final bool) plog.Logs {
	return records(flowlog.StreamCoverage, int(to-from), func(i int, lr plog.LogRecord) {
		start := hourStart + (from+int64(i))*windowLength
		(&flowlog.Coverage{Start: start, End: start + windowLength, Status: status, Final: final}).WriteTo(lr)
	})
}

func gap(from, to int64) plog.Logs {
	return records(flowlog.StreamCoverage, 1, func(_ int, lr plog.LogRecord) {
		(&flowlog.Gap{
			From: hourStart + from*windowLength, To: hourStart + to*windowLength, Window: windowLength, Cause: flowlog.CauseReceiverDown,
		}).WriteTo(lr)
	})
}

// expected sums flows up as the page says: those that count, each once.
type expected struct {
	windows map[edgeInterval]*flowlog.Sum // by window
	lines   map[string]bool
}

func expect() *expected {
	return &expected{map[edgeInterval]*flowlog.Sum{}, map[string]bool{}}
}

func (x *expected) add(f *flowlog.Flow) {
	line, _ := f.AppendLine(nil)
	exact := fmt.Sprint(f.Start, string(line))
	if x.lines[exact] || !f.Counts {
		return
	}
	x.lines[exact] = true
	of := edgeInterval{edgeOf(f), f.Start}
	if x.windows[of] == nil {
		x.windows[of] = &flowlog.Sum{}
	}
	x.windows[of].Add(&flowlog.Sum{Flows: 1, Counters: f.Counters})
}

// sums are what there is to be of each edge and interval of a grain, and in how many
// windows.
func (x *expected) sums(g grain) (sums map[edgeInterval]flowlog.Sum, windows map[edgeInterval]int64) {
	sums, windows = map[edgeInterval]flowlog.Sum{}, map[edgeInterval]int64{}
	for of, sum := range x.windows {
		in := edgeInterval{of.edge, of.start - of.start%lengths[g]}
		s := sums[in]
		s.Add(sum)
		sums[in] = s
		windows[in]++
	}
	return sums, windows
}

// lengths are those of the default configuration.
var lengths = settingsOf(createDefaultConfig().(*Config)).Lengths

// require holds what was said, of some grains or of all, against it.
func (x *expected) require(t testing.TB, s *sink, of ...grain) {
	t.Helper()
	if len(of) == 0 {
		of = []grain{quarters, wholes, days}
	}
	for _, g := range of {
		got := s.rollups(t, streams[g])
		sums, windows := x.sums(g)
		for in, want := range sums {
			r, ok := got[in]
			require.True(t, ok, "no %s of %v", kinds[g], in)
			require.Equal(t, want, r.Sum, "%s of %v", kinds[g], in)
			require.Equal(t, windows[in], r.Windows, "%s of %v", kinds[g], in)
		}
		final := map[int64]int64{}
		for _, r := range got {
			if r.Final {
				final[r.Start]++
			}
		}
		closed := s.closings(t, streams[g])
		for start, edges := range final {
			require.Equal(t, edges, closed[start].Edges, "edges of the closing record of %s %d", kinds[g], start)
		}
		require.Len(t, got, len(sums), "%s of what there is not", kinds[g])
	}
}
