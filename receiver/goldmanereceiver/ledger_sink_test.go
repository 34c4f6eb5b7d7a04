package goldmanereceiver

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// sink is the pipeline's end, in the test's process, so that what it has survives the
// receiver.
type sink struct {
	plogotlp.UnimplementedGRPCServer
	// all makes it refuse everything; some makes it refuse one in that many.
	all  atomic.Bool
	some atomic.Int64

	mu sync.Mutex
	// records are all that arrived. mu guards it, and the next.
	records []received
	// covered and final are the ends of the newest window with a coverage record, and
	// with a final one.
	covered, final int64
	// hold is nil, or says of which batch the sender shall never hear that it was taken.
	hold func(batch []received) bool
	// held is closed when that batch has come.
	held chan struct{}
}

// received is what the test looks at of a record.
type received struct {
	event, body            string
	at                     time.Time
	start, end, port, rows int64
	packets                int64 // the source's
	action, reporter       string
	counts                 bool
	status, cause          string
	final                  bool
}

func newReceived(lr plog.LogRecord) received {
	r := received{event: lr.EventName(), body: lr.Body().Str(), at: lr.Timestamp().AsTime()}
	for name, v := range lr.Attributes().All() {
		switch name {
		case flowlog.FlowStart:
			r.start = v.Int()
		case flowlog.FlowEnd:
			r.end = v.Int()
		case flowlog.DestinationPort:
			r.port = v.Int()
		case flowlog.CoverageFlows:
			r.rows = v.Int()
		case flowlog.FlowAction:
			r.action = v.Str()
		case flowlog.FlowCounts:
			r.counts = v.Bool()
		case flowlog.FlowReporter:
			r.reporter = v.Str()
		case flowlog.FlowSourcePackets:
			r.packets = v.Int()
		case flowlog.CoverageStatus:
			r.status = v.Str()
		case flowlog.CoverageCause:
			r.cause = v.Str()
		case flowlog.CoverageFinal:
			r.final = v.Bool()
		}
	}
	return r
}

// Export takes a batch, as an OTLP receiver does.
func (s *sink) Export(ctx context.Context, req plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	none := plogotlp.NewExportResponse()
	some := s.some.Load()
	if s.all.Load() || some > 0 && rand.Int64N(some) == 0 {
		return none, status.Error(codes.Unavailable, "full")
	}
	var batch []received
	for _, rl := range req.Logs().ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				batch = append(batch, newReceived(lr))
			}
		}
	}
	if s.take(batch) {
		<-ctx.Done()
		return none, ctx.Err()
	}
	return none, nil
}

// take takes a batch, and reports whether its sender must not hear of it.
func (s *sink) take(batch []received) (hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, batch...)
	for i := range batch {
		if r := &batch[i]; r.event == flowlog.EventCoverage {
			s.covered = max(s.covered, r.end)
			if r.final {
				s.final = max(s.final, r.end)
			}
		}
	}
	if s.hold == nil || !s.hold(batch) {
		return false
	}
	s.hold = nil
	close(s.held)
	return true
}

// keepWaiting makes the sender of the first batch that is so wait until it is killed.
func (s *sink) keepWaiting(is func(batch []received) bool) (held <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold, s.held = is, make(chan struct{})
	return s.held
}

// coveredTo is the end of the newest window of which the trail says something, or its
// final word.
func (s *sink) coveredTo(final bool) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if final {
		return s.final
	}
	return s.covered
}

func (s *sink) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

func newSink(t *testing.T) (*sink, string) {
	t.Helper()
	s := &sink{}
	server := grpc.NewServer()
	plogotlp.RegisterGRPCServer(server, s)
	address := serve(t, server)
	t.Cleanup(server.Stop)
	return s, address
}
