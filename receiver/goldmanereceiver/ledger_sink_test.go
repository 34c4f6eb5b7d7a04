package goldmanereceiver

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	// hold is nil, or says of which batch the sender shall never hear that it was taken.
	hold func(batch []received) bool
	// held is closed when that batch has come.
	held chan struct{}
}

type received struct {
	stream, event, body string
	at                  time.Time
	attributes          map[string]any
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
		name, _ := rl.Resource().Attributes().Get("service.name")
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				batch = append(batch, received{name.Str(), lr.EventName(), lr.Body().Str(), lr.Timestamp().AsTime(), lr.Attributes().AsRaw()})
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

// has reports whether a record of that event is so.
func (s *sink) has(event string, is func(received) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The newest first: that is what is asked for.
	for _, r := range slices.Backward(s.records) {
		if r.event == event && is(r) {
			return true
		}
	}
	return false
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
