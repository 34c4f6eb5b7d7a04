package goldmanereceiver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

const (
	// laneBytes bounds what the lane holds while the pipeline refuses: 64 MiB, some
	// 150,000 flows. Beyond it the lane is closed and emptied; the listing of the windows
	// has it all.
	laneBytes = 64 << 20
	// laneLag is how many windows late a flow may arrive before the lane is closed: a
	// window is streamed two windows after its start.
	laneLag = 5
	// laneWindow is gRPC's flow-control window where the lane is used, in bytes: Goldmane
	// can send a window's flows at once, and never waits for us.
	laneWindow = 32 << 20
)

// errLaneFull is why the lane is closed when nobody takes what it brings.
var errLaneFull = fmt.Errorf("the pipeline took nothing while %d MiB of flows came", laneBytes>>20)

// lane is one Flows.Stream from now on, an early and incomplete view of what will be
// listed, for those who want to look at once: previews, which nobody counts. It is drained at once, whatever the pipeline does: Goldmane itself stalls
// behind a stream that is read slowly.
type lane struct {
	r *goldmaneReceiver
	// ready has an element when rows may be there.
	ready chan struct{}
	// taken has an element when rows have been taken.
	taken chan struct{}

	// mu guards what follows.
	mu    sync.Mutex
	rows  []string
	bytes int
}

func newLane(r *goldmaneReceiver) *lane {
	return &lane{r: r, ready: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

// run keeps the lane open until ctx ends. One stream at a time: the 101st kills
// Goldmane.
func (l *lane) run(ctx context.Context) {
	pause := l.r.newBackOff()
	for {
		began := l.r.clock.Now()
		err := l.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		l.r.count.GoldmaneLiveClosed.Add(ctx, 1)
		l.r.set.Logger.Info("The live lane was closed; it will be opened again, and nothing is lost", zap.Error(err))
		if errors.Is(err, errLaneFull) {
			// Not before the pipeline moves.
			select {
			case <-l.taken:
			case <-ctx.Done():
			}
		}
		if l.r.clock.Since(began) > l.r.cfg.Window {
			pause.Reset()
		}
		if !l.r.sleep(ctx, pause.NextBackOff()) {
			return
		}
	}
}

// stream reads one stream to its end.
func (l *lane) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := l.r.conn.NewStream(ctx, &goldmane.Flows_ServiceDesc.Streams[0], goldmane.Flows_Stream_FullMethodName, grpc.ForceCodecV2(l.r.codec))
	if err != nil {
		return err
	}
	// Start 0 is no backfill. What is past is listed.
	if err := stream.SendMsg(&goldmane.FlowStreamRequest{}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var row answer
		if err := stream.RecvMsg(&row); err != nil {
			return err
		}
		if late := l.late(row.text); late > 0 {
			return fmt.Errorf("it lags: flows came %v after their window's start", late)
		}
		if !l.put(row.text) {
			return errLaneFull
		}
	}
}

// late returns how late a row has come, or 0 where that is early enough.
func (l *lane) late(row string) time.Duration {
	var flow wireFlow
	if !flow.readResult(row, &labelRoom{}) || flow.start == 0 {
		return 0
	}
	if came := l.r.clock.Since(time.Unix(flow.start, 0)); came > laneLag*l.r.cfg.Window {
		return came
	}
	return 0
}

// put adds a row, or empties the lane where there is no room.
func (l *lane) put(row string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := l.bytes+len(row) <= laneBytes
	if room {
		l.rows, l.bytes = append(l.rows, row), l.bytes+len(row)
	} else {
		l.rows, l.bytes = nil, 0
		select { // an earlier taking says nothing
		case <-l.taken:
		default:
		}
	}
	select {
	case l.ready <- struct{}{}:
	default:
	}
	return room
}

// take empties the lane.
func (l *lane) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows := l.rows
	l.rows, l.bytes = nil, 0
	select {
	case l.taken <- struct{}{}:
	default:
	}
	return rows
}

// handOnLive hands on what the lane has brought of windows that are still to be listed, as
// previews. It returns false when ctx has ended.
func (r *goldmaneReceiver) handOnLive(ctx context.Context) bool {
	answers := map[int64][]byte{}
	var labels labelRoom
	for _, row := range r.lane.take() {
		var from wireFlow
		if !from.readResult(row, &labels) || from.start%r.windowSeconds() != 0 || !r.state.unread(from.start) {
			continue // the listing will say, or has said, what is to be said of it
		}
		answers[from.start] = appendRow(answers[from.start], row)
	}
	for _, start := range slices.Sorted(maps.Keys(answers)) {
		w, err := readWindow(start, answer{string(answers[start])}, r.convert, &r.convert.labels)
		r.convert.reset() // the listing counts
		if err != nil || len(w.flows) == 0 {
			continue // the listing will say, again
		}
		w.preview()
		if _, ok := r.deliver(ctx, w); !ok {
			return false
		}
		r.count.GoldmaneLiveEmitted.Add(ctx, int64(len(w.records)))
	}
	return true
}

// preview makes each flow a record as it is: nothing is merged, nothing decided, and nothing
// counts.
func (w *window) preview() {
	w.stream, w.event = flowlog.StreamLive, flowlog.EventPreview
	for i := range w.flows {
		f := &w.flows[i]
		if f.Reporter == flowlog.ReporterSource && f.Action == flowlog.ActionAllow && f.Destination.Type == flowlog.TypeWorkload {
			f.Action = flowlog.ActionUnconfirmed
		}
		f.Deciding = f.DecidingHit()
		w.left = append(w.left, int32(i))
	}
	w.order()
}
