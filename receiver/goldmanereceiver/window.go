package goldmanereceiver

import (
	"cmp"
	"slices"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// window is all the flows of one of Goldmane's windows, ready to be handed on.
type window struct {
	// start is in seconds since the epoch.
	start int64
	// answer is what the window was made of, and live is whether that is what the live
	// lane brought.
	answer answer
	live   bool
	// rows is how many rows the answer had.
	rows int
	// flows are all that were in the answer; some have become part of others.
	flows []flowlog.Flow
	// records are in the order of emission: by timestamp.
	records []record
	whole
	// discarded counts rows that became no flow.
	discarded int64
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

// newWindow makes a window of what Goldmane answered for it, without what was handed on
// earlier; what is left is late then, unless the live lane brings it. The window's strings are parts of the answer.
func newWindow(start int64, a answer, c *converter, mergeReporters bool, before earlier) (*window, error) {
	w := &window{start: start, answer: a, live: before.onlyNew}
	w.flows = make([]flowlog.Flow, 0, a.count())
	late := before.seen != nil || before.live != nil && !before.onlyNew
	err := a.eachFlow(&c.labels, func(row *wireFlow) {
		w.rows++
		w.flows = append(w.flows, flowlog.Flow{Late: late})
		if last := len(w.flows) - 1; !c.convert(row, start, &w.flows[last]) {
			w.flows = w.flows[:last]
			w.discarded++
		}
	})
	if err != nil {
		return nil, err
	}
	w.whole = merge(w.flows, mergeReporters, before)
	w.order()
	return w, nil
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
	logs, records := newLogs(flowlog.StreamFlows)
	records.EnsureCapacity(hi - lo)
	for _, r := range w.records[lo:hi] {
		w.flows[r.flow].WriteTo(records.AppendEmpty(), r.line, r.key)
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
