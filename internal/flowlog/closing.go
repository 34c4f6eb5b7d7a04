package flowlog

import (
	"errors"
	"fmt"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Closing says that all final rollups of an interval have been handed on before it. Rollups
// come in batches: without it a reader that finds some cannot know that others are still to
// come. Of several of an interval the one with the highest sequence is true.
type Closing struct {
	// Start and End bound the interval, in seconds since the epoch.
	Start, End int64
	// Sequence grows with every record that the interval takes into account.
	Sequence int64
	// Edges is how many there are rollups of.
	Edges int64
	// Complete is how many of the interval's windows are complete, and Total how many it has.
	Complete, Total int64
}

const closingWord = "closed"

// ClosingText is part of the line of every closing record.
func ClosingText() string { return closingWord + " " }

// AppendLine appends the record's line to b:
//
//	v2 closed 2026-11-22T02:00:00Z 2026-11-22T03:00:00Z 9120 edges 700 covered 240/240
func (c *Closing) AppendLine(b []byte) []byte {
	b = append(appendVersion(b), ClosingText()...)
	b = append(appendTime(b, c.Start), ' ')
	b = append(appendTime(b, c.End), ' ')
	b = strconv.AppendInt(b, c.Sequence, 10)
	b = appendCounts(append(b, " edges "...), c.Edges)
	return appendCounts(append(b, " covered "...), c.Complete, c.Total)
}

// WriteTo fills lr with the record, which is a pure function of what it says. Its time is
// in the last second of the interval, where the rollups' are.
func (c *Closing) WriteTo(lr plog.LogRecord) {
	lr.SetTimestamp(pcommon.NewTimestampFromTime(EdgeTimestamp(&Edge{}, c.End, c.Sequence)))
	lr.SetEventName(EventClosing)
	lr.Body().SetStr(string(c.AppendLine(make([]byte, 0, 128))))
	m := lr.Attributes()
	m.EnsureCapacity(6)
	m.PutInt(EdgeIntervalStart, c.Start)
	m.PutInt(EdgeIntervalEnd, c.End)
	m.PutInt(EdgeSequence, c.Sequence)
	m.PutInt(EdgeIntervalEdges, c.Edges)
	m.PutInt(EdgeWindowsComplete, c.Complete)
	m.PutInt(EdgeWindowsTotal, c.Total)
}

// ErrNotAClosing is returned by ParseClosing, wrapped, for a text that AppendLine did not
// write.
var ErrNotAClosing = errors.New("not the line of a closing record")

var closingWords = [...]fixedWord{{0, closingWord}, {4, "edges"}, {6, "covered"}}

// ParseClosing reads a line that AppendLine wrote.
func ParseClosing(s string) (Closing, error) {
	var c Closing
	var fields [8]string
	err := splitLine(s, fields[:], closingWords[:])
	if err == nil {
		err = errors.Join(
			parseTime(fields[1], &c.Start),
			parseTime(fields[2], &c.End),
			parseCounts(fields[3], &c.Sequence),
			parseCounts(fields[5], &c.Edges),
			parseCounts(fields[7], &c.Complete, &c.Total),
		)
	}
	if err != nil {
		return Closing{}, fmt.Errorf("%w: %w: %.80q", ErrNotAClosing, err, s)
	}
	return c, nil
}
