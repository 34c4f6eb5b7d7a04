package goldmanereceiver

import (
	"archive/zip"
	"context"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
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
	defer archive.Close()
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

func TestCapture(t *testing.T) {
	for _, name := range []string{"felix-3.30.7-steady", "felix-3.30.7-policy-changes", "felix-3.32.1-node-cut-off"} {
		t.Run(name, func(t *testing.T) {
			sums := map[string]*flowlog.Sum{}
			next, err := consumer.NewLogs(func(_ context.Context, logs plog.Logs) error {
				for _, lr := range records(logs) {
					if lr.EventName() == flowlog.EventCoverage {
						t.Log(lr.Body().Str())
					}
					if lr.EventName() != flowlog.EventName {
						continue
					}
					f, err := flowlog.ParseLine(lr.Body().Str())
					require.NoError(t, err)
					if !f.Counts {
						continue
					}
					w := strings.Fields(lr.Body().Str())
					key := strings.Join(w[1:6], " ")
					if sums[key] == nil {
						sums[key] = &flowlog.Sum{}
					}
					sums[key].Add(&flowlog.Sum{Flows: 1, Counters: f.Counters})
				}
				return nil
			})
			require.NoError(t, err)
			readCapture(t, name).play(t, createDefaultConfig().(*Config), next, nil)
			for key, s := range sums {
				t.Log(key, s.ConnectionsStarted, s.Flows, s.SourcePackets)
			}
		})
	}
}
