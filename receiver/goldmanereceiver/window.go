package goldmanereceiver

import (
	"cmp"
	"slices"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
)

// window is all the flows of one of Goldmane's windows, ready to be handed on.
type window struct {
	// start is in seconds since the epoch.
	start int64
	flows []flowlog.Flow
	// records are in the order of emission: by timestamp.
	records []record
	merged  merged
}

// record is one flow's line and place.
type record struct {
	key  uint64
	line string
	// flow is an index into window.flows.
	flow int32
}

// newWindow makes a window of the rows that Goldmane answered for it. It keeps
// parts of the rows.
func newWindow(start int64, rows []*goldmane.FlowResult, c *converter, mergeReporters bool) *window {
	flows := make([]flowlog.Flow, 0, len(rows))
	for _, row := range rows {
		flows = append(flows, flowlog.Flow{})
		if last := len(flows) - 1; !c.convert(row, start, &flows[last]) {
			flows = flows[:last]
		}
	}
	w := &window{start: start}
	w.flows, w.merged = merge(flows, mergeReporters)
	w.order()
	return w
}

// order writes the lines and sorts the records by timestamp, which the hash of the
// key decides: the order is the same whatever order Goldmane answered in, and Loki
// takes entries in order at the least cost.
func (w *window) order() {
	w.records = make([]record, len(w.flows))
	// All lines of a window share one string: they leave together, and 50,000 small
	// allocations become one.
	buf := make([]byte, 0, len(w.flows)*lineSize)
	ends := make([]int, len(w.flows))
	for i := range w.flows {
		w.records[i].flow = int32(i)
		buf, w.records[i].key = w.flows[i].AppendLine(buf)
		ends[i] = len(buf)
	}
	text, from := string(buf), 0
	for i, end := range ends {
		w.records[i].line = text[from:end]
		from = end
	}
	slices.SortFunc(w.records, func(a, b record) int {
		x, y := &w.flows[a.flow], &w.flows[b.flow]
		return cmp.Or(
			flowlog.Timestamp(x.Start, x.End, a.key).Compare(flowlog.Timestamp(y.Start, y.End, b.key)),
			cmp.Compare(a.line, b.line),
		)
	})
}

// lineSize is the room set aside for a line: the mean on the simulator's cluster.
const lineSize = 330

// logs makes plog.Logs of the records from lo to hi.
func (w *window) logs(lo, hi int) plog.Logs {
	logs := plog.NewLogs()
	resource := logs.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr(flowlog.ServiceName, flowlog.StreamFlows)
	// The scope stays empty: Loki would store its name and version with every record.
	records := resource.ScopeLogs().AppendEmpty().LogRecords()
	records.EnsureCapacity(hi - lo)
	for _, r := range w.records[lo:hi] {
		w.flows[r.flow].WriteTo(records.AppendEmpty(), r.line, r.key)
	}
	return logs
}
