package goldmanereceiver

import (
	"cmp"
	"slices"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// window is flows of one of Goldmane's windows, on their way to being handed on.
type window struct {
	// start is in seconds since the epoch.
	start int64
	// stream and event are where the records go, and what they are called.
	stream, event string
	// rows is how many rows the answer had.
	rows int
	// flows are all that were in the answer; some become part of others. hashes are those
	// of their pairs, and rowOf the rows that they were.
	flows  []flowlog.Flow
	hashes []uint64
	rowOf  []int32
	// left are the indices of the flows to hand on, in no order that means anything.
	left []int32
	// joined says of each flow which it became part of, itself where it did not; nil where
	// none did. held says which are withheld; nil where none is.
	joined []int32
	held   []bool
	// all is the ledger of all flows, where nothing was handed on before.
	all ledger
	// records are in the order of emission: by timestamp.
	records []record
	merged
	// discarded counts rows that became no flow.
	discarded int64
	buf       []byte
}

// record is one flow's line and place.
type record struct {
	key uint64
	// at is the timestamp.
	at   int64
	line string
	// flow is an index into window.flows.
	flow int32
}

// readWindow makes flows of what Goldmane answered for a window, with the labels that keep
// keeps. Their strings are parts of the answer.
func readWindow(start int64, a answer, c *converter, keep *labelglob.Filter) (*window, error) {
	n := a.count()
	w := &window{
		start: start, stream: flowlog.StreamFlows, event: flowlog.EventName,
		flows: make([]flowlog.Flow, 0, n), hashes: make([]uint64, 0, n), rowOf: make([]int32, 0, n),
	}
	err := a.eachFlow(keep, func(row *wireFlow) {
		w.rows++
		w.flows = append(w.flows, flowlog.Flow{})
		last := len(w.flows) - 1
		if !c.convert(row, start, &w.flows[last]) {
			w.flows = w.flows[:last]
			w.discarded++
			return
		}
		var hash uint64
		hash, w.buf = row.pair(w.buf)
		w.hashes, w.rowOf = append(w.hashes, hash), append(w.rowOf, int32(w.rows-1))
	})
	return w, err
}

// join notes that a flow became part of another.
func (w *window) join(part, of int32) {
	if w.joined == nil {
		w.joined = make([]int32, len(w.flows))
		for i := range w.joined {
			w.joined[i] = int32(i)
		}
	}
	w.joined[part] = of
}

// withhold keeps a flow back, with those that became part of it.
func (w *window) withhold(flow int32) {
	if w.held == nil {
		w.held = make([]bool, len(w.flows))
	}
	w.held[flow] = true
}

// isHeld reports whether a flow is withheld, or part of one that is.
func (w *window) isHeld(flow int32) bool { return len(w.held) > 0 && w.held[w.whole(flow)] }

// whole is the flow that a flow became part of, itself where it did not.
func (w *window) whole(flow int32) int32 {
	for len(w.joined) > 0 && w.joined[flow] != flow {
		flow = w.joined[flow]
	}
	return flow
}

// heldRows are the rows that the withheld flows were, in order.
func (w *window) heldRows() []int32 {
	var rows []int32
	for i := range w.held {
		if w.isHeld(int32(i)) {
			rows = append(rows, w.rowOf[i])
		}
	}
	return rows
}

// rowsOf are the rows that some flows were, and those that became part of them, in order.
func (w *window) rowsOf(flows []int32) []int32 {
	wanted := make([]bool, len(w.flows))
	for _, i := range flows {
		wanted[i] = true
	}
	var rows []int32
	for i := range w.flows {
		if wanted[w.whole(int32(i))] {
			rows = append(rows, w.rowOf[i])
		}
	}
	return rows
}

// order writes the lines of the flows that are left and sorts the records by timestamp, which the hash of the
// key decides: the order is the same whatever order Goldmane answered in, and Loki
// takes entries in order at the least cost.
func (w *window) order() {
	flows := w.left
	w.records = make([]record, len(flows))
	// All lines of a window share one string: they leave together, and 50,000 small
	// allocations become one.
	buf := make([]byte, 0, (len(flows)+10)*lineSize)
	ends := make([]int, len(flows))
	for i, at := range flows {
		f, r := &w.flows[at], &w.records[i]
		buf, r.key = f.AppendLine(buf)
		r.flow, r.at = at, flowlog.Timestamp(f.Start, f.End, r.key).UnixNano()
		ends[i] = len(buf)
	}
	// Not string(buf), which takes another 12 MB for 50,000 flows: buf is not written any more.
	text, from := unsafe.String(unsafe.SliceData(buf), len(buf)), 0 //nolint:gosec // see above
	for i, end := range ends {
		w.records[i].line = text[from:end]
		from = end
	}
	slices.SortFunc(w.records, func(a, b record) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		return cmp.Compare(a.line, b.line)
	})
}

// lineSize is the room set aside for a line: the mean on the simulator's cluster is 97.
const lineSize = 112

// logs makes plog.Logs of the records from lo to hi.
func (w *window) logs(lo, hi int) plog.Logs {
	logs, records := newLogs(w.stream)
	records.EnsureCapacity(hi - lo)
	for _, r := range w.records[lo:hi] {
		lr := records.AppendEmpty()
		w.flows[r.flow].WriteTo(lr, r.line, r.key)
		lr.SetEventName(w.event)
	}
	return logs
}

// newLogs returns logs of one stream and where its records go. The scope stays empty:
// Loki would store its name and version with every record.
func newLogs(stream string) (plog.Logs, plog.LogRecordSlice) {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(flowlog.ServiceName, stream)
	return logs, resource.ScopeLogs().AppendEmpty().LogRecords()
}
