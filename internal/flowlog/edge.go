package flowlog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Edge is who talks to whom, by what, and whether it may.
type Edge struct {
	// Source and Destination are service identities, "" where a record has none.
	Source, Destination string
	// Port is the destination's, 0 where the transport has none.
	Port              int64
	Transport, Action string
}

// InternalSet begins the identity of a network set that is no outside.
const InternalSet = "internal:"

// OverflowIdentity is both identities of the edge that stands for all edges over a bound.
const OverflowIdentity = "*"

// appendEdge appends action, source, destination and port, as a flow's line has them:
//
//	allow payments -> monitoring/grafana 3000/tcp
func appendEdge(b []byte, e *Edge) []byte {
	b = append(appendToken(b, e.Action, 0), ' ')
	b = appendToken(b, e.Source, 0)
	b = append(b, " -> "...)
	b = append(appendToken(b, e.Destination, 0), ' ')
	if e.Port == 0 {
		b = append(b, empty...)
	} else {
		b = strconv.AppendInt(b, e.Port, 10)
	}
	return appendToken(append(b, '/'), e.Transport, escapeSlash)
}

// parseEdge undoes appendEdge; fields are the five words of it.
func parseEdge(fields []string, e *Edge) error {
	var errs [5]error
	e.Action, errs[0] = parseToken(fields[0])
	e.Source, errs[1] = parseToken(fields[1])
	e.Destination, errs[2] = parseToken(fields[3])
	port, transport, ok := strings.Cut(fields[4], "/")
	if !ok {
		return errors.New("a port without a transport")
	}
	e.Transport, errs[3] = parseToken(transport)
	if port != empty {
		e.Port, errs[4] = strconv.ParseInt(port, 10, 64)
	}
	return errors.Join(errs[:]...)
}

// WriteTo writes the edge as attributes.
func (e *Edge) WriteTo(m pcommon.Map) {
	putStr(m, SourceIdentity, e.Source)
	putStr(m, DestinationIdentity, e.Destination)
	if e.Port != 0 {
		m.PutInt(DestinationPort, e.Port)
	}
	putStr(m, NetworkTransport, e.Transport)
	putStr(m, FlowAction, e.Action)
}

// EdgeTimestamp is the time of a record that speaks of an edge up to end, in seconds since
// the epoch: within the second before it, at a millisecond that the edge decides and a
// nanosecond that the sequence does. So records are spread, for Loki's sake, and of two
// that speak of an edge up to the same end the one with the higher sequence is later.
func EdgeTimestamp(e *Edge, end, sequence int64) time.Time {
	key := xxhash.Sum64(appendEdge(make([]byte, 0, 128), e))
	return time.Unix(end-1, int64(key%1e3)*1e6+min(sequence, 1e6-1))
}

// Sum is records added up, those that count: see [Flow.Counts].
type Sum struct {
	// Flows is how many records these are.
	Flows int64
	// Counters have no ConnectionsLive: those alive at the end of several windows are
	// no sum.
	Counters
}

// Add adds o to s.
func (s *Sum) Add(o *Sum) {
	s.Flows += o.Flows
	s.Counters.Add(&o.Counters)
	s.ConnectionsLive = 0
}

// Rollup is what the trail says of one edge in one interval, at one time: of several the
// one with the highest sequence is true.
type Rollup struct {
	Edge
	// Start and End bound the interval, in seconds since the epoch, aligned to it.
	Start, End int64
	// Final is false where the interval is not over, or some of its windows are not.
	Final bool
	// Sequence grows with every record that the rollup takes into account, of flows and of
	// coverage, and is higher for a final one.
	Sequence int64
	// AsOf decides the timestamp of a rollup that is not final: the end of the last window
	// that it knows of, in seconds since the epoch. It is not in the line.
	AsOf int64

	Sum
	// Windows is how many windows the edge was seen in.
	Windows int64
	// Complete is how many of the interval's windows are complete, and Total how many it has.
	Complete, Total int64
	// First and Last are the start of the first window that the edge was seen in, and the
	// end of the last, in seconds since the epoch.
	First, Last int64
	// Policies are the hits that decided, in order. There may be more: PoliciesMore counts
	// the records that were decided by another.
	Policies     []string
	PoliciesMore int64
}

// AppendLine appends the rollup's line to b:
//
//	v2 rollup 2026-11-22T02:00:00Z 2026-11-22T03:00:00Z final 1
//	allow payments -> monitoring/grafana 3000/tcp flows 480 windows 240 covered 240/240
//	conns 12/10 sent 300/18000 back 200/90000 seen 2026-11-22T02:00:00Z 2026-11-22T03:00:00Z
//	by np:default/monitoring/allow-payments#0=allow more 0
func (r *Rollup) AppendLine(b []byte) []byte {
	b = append(append(appendVersion(b), rollupWord...), ' ')
	b = append(appendTime(b, r.Start), ' ')
	b = append(appendTime(b, r.End), ' ')
	b = append(append(b, stageOf(r.Final)...), ' ')
	b = strconv.AppendInt(b, r.Sequence, 10)
	b = appendEdge(append(b, ' '), &r.Edge)
	b = appendCounts(append(b, " flows "...), r.Flows)
	b = appendCounts(append(b, " windows "...), r.Windows)
	b = appendCounts(append(b, " covered "...), r.Complete, r.Total)
	b = appendCounts(append(b, " conns "...), r.ConnectionsStarted, r.ConnectionsCompleted)
	b = appendCounts(append(b, " sent "...), r.SourcePackets, r.SourceBytes)
	b = appendCounts(append(b, " back "...), r.DestinationPackets, r.DestinationBytes)
	b = append(appendTime(append(b, " seen "...), r.First), ' ')
	b = appendTime(b, r.Last)
	b = append(b, " by "...)
	b = appendHits(b, r.Policies)
	return appendCounts(append(b, " more "...), r.PoliciesMore)
}

const (
	rollupWord    = "rollup"
	firstSeenWord = "first_seen"
)

// stageOf is the word for whether a rollup is final.
func stageOf(final bool) string {
	if final {
		return "final"
	}
	return "provisional"
}

// appendHits appends hits, which are tokens already, separated by commas.
func appendHits(b []byte, hits []string) []byte {
	if len(hits) == 0 {
		return append(b, empty...)
	}
	for i, hit := range hits {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, hit...)
	}
	return b
}

// WriteTo fills lr with the rollup. Like a flow's, the record is a pure function of what
// it says.
func (r *Rollup) WriteTo(lr plog.LogRecord) {
	end := r.AsOf
	if r.Final {
		end = r.End
	}
	lr.SetTimestamp(pcommon.NewTimestampFromTime(EdgeTimestamp(&r.Edge, end, r.Sequence)))
	lr.SetEventName(EventRollup)
	lr.Body().SetStr(string(r.AppendLine(make([]byte, 0, 384))))
	m := lr.Attributes()
	m.EnsureCapacity(24)
	r.Edge.WriteTo(m)
	m.PutBool(EdgeFinal, r.Final)
	for _, n := range [...]struct {
		key string
		n   int64
	}{
		{EdgeIntervalStart, r.Start},
		{EdgeIntervalEnd, r.End},
		{EdgeSequence, r.Sequence},
		{EdgeFlows, r.Flows},
		{EdgeWindows, r.Windows},
		{EdgeWindowsComplete, r.Complete},
		{EdgeWindowsTotal, r.Total},
		{FlowConnectionsStarted, r.ConnectionsStarted},
		{FlowConnectionsCompleted, r.ConnectionsCompleted},
		{FlowSourcePackets, r.SourcePackets},
		{FlowSourceBytes, r.SourceBytes},
		{FlowDestinationPackets, r.DestinationPackets},
		{FlowDestinationBytes, r.DestinationBytes},
		{EdgeFirst, r.First},
		{EdgeLast, r.Last},
		{EdgePoliciesMore, r.PoliciesMore},
	} {
		m.PutInt(n.key, n.n)
	}
	putStr(m, EdgePolicies, strings.Join(r.Policies, ","))
}

// ErrNotARollup is returned by ParseRollup, wrapped, for a text that AppendLine did not
// write.
var ErrNotARollup = errors.New("not the line of a rollup")

// rollupWords are the fixed words of a rollup's line, by the field they stand in.
var rollupWords = [...]fixedWord{
	{0, rollupWord},
	{7, "->"},
	{10, "flows"},
	{12, "windows"},
	{14, "covered"},
	{16, "conns"},
	{18, "sent"},
	{20, "back"},
	{22, "seen"},
	{25, "by"},
	{27, "more"},
}

// ParseRollup reads a line that AppendLine wrote. The Rollup's strings alias s.
func ParseRollup(s string) (Rollup, error) {
	var r Rollup
	if err := r.parseLine(s); err != nil {
		return Rollup{}, fmt.Errorf("%w: %w: %.80q", ErrNotARollup, err, s)
	}
	return r, nil
}

func (r *Rollup) parseLine(s string) error {
	var fields [29]string
	if err := splitLine(s, fields[:], rollupWords[:]); err != nil {
		return err
	}
	switch fields[3] {
	case stageOf(true):
		r.Final = true
	case stageOf(false):
	default:
		return errors.New("neither final nor provisional")
	}
	if fields[26] != empty {
		r.Policies = strings.Split(fields[26], ",")
	}
	return errors.Join(
		parseTime(fields[1], &r.Start),
		parseTime(fields[2], &r.End),
		parseCounts(fields[4], &r.Sequence),
		parseEdge(fields[5:10], &r.Edge),
		parseCounts(fields[11], &r.Flows),
		parseCounts(fields[13], &r.Windows),
		parseCounts(fields[15], &r.Complete, &r.Total),
		parseCounts(fields[17], &r.ConnectionsStarted, &r.ConnectionsCompleted),
		parseCounts(fields[19], &r.SourcePackets, &r.SourceBytes),
		parseCounts(fields[21], &r.DestinationPackets, &r.DestinationBytes),
		parseTime(fields[23], &r.First),
		parseTime(fields[24], &r.Last),
		parseCounts(fields[28], &r.PoliciesMore),
	)
}

// FirstSeen says that an edge was not known before.
type FirstSeen struct {
	Edge
	// Start and End bound the window, in seconds since the epoch.
	Start, End int64
	// Deciding is the policy hit that decided the first flow.
	Deciding string
}

// AppendLine appends the event's line to b:
//
//	v2 first_seen 2026-11-22T02:10:00Z allow payments -> monitoring/grafana 3000/tcp by np:default/monitoring/allow-payments#0=allow
func (f *FirstSeen) AppendLine(b []byte) []byte {
	b = append(append(appendVersion(b), firstSeenWord...), ' ')
	b = appendTime(b, f.Start)
	b = appendEdge(append(b, ' '), &f.Edge)
	return appendOrEmpty(append(b, " by "...), f.Deciding)
}

// WriteTo fills lr with the event. The record is a pure function of what it says; its
// timestamp is in the window.
func (f *FirstSeen) WriteTo(lr plog.LogRecord) {
	lr.SetTimestamp(pcommon.NewTimestampFromTime(EdgeTimestamp(&f.Edge, f.End, 0)))
	lr.SetEventName(EventFirstSeen)
	lr.Body().SetStr(string(f.AppendLine(make([]byte, 0, 256))))
	m := lr.Attributes()
	m.EnsureCapacity(8)
	f.Edge.WriteTo(m)
	m.PutInt(FlowStart, f.Start)
	m.PutInt(FlowEnd, f.End)
	putStr(m, PolicyDeciding, f.Deciding)
}

// ErrNotFirstSeen is returned by ParseFirstSeen, wrapped, for a text that AppendLine did
// not write.
var ErrNotFirstSeen = errors.New("not the line of a first_seen event")

var firstSeenWords = [...]fixedWord{{0, firstSeenWord}, {4, "->"}, {7, "by"}}

// ParseFirstSeen reads a line that AppendLine wrote. The window's end is not in the line
// and stays 0. The strings alias s.
func ParseFirstSeen(s string) (FirstSeen, error) {
	var f FirstSeen
	var fields [9]string
	err := splitLine(s, fields[:], firstSeenWords[:])
	if err == nil {
		f.Deciding = orEmpty(fields[8])
		err = errors.Join(parseTime(fields[1], &f.Start), parseEdge(fields[2:7], &f.Edge))
	}
	if err != nil {
		return FirstSeen{}, fmt.Errorf("%w: %w: %.80q", ErrNotFirstSeen, err, s)
	}
	return f, nil
}

// fixedWord is a word that stands in the same field of every line of a kind.
type fixedWord struct {
	field int
	word  string
}

// splitLine fills fields with the words of s behind its version, which must be as many.
func splitLine(s string, fields []string, words []fixedWord) error {
	s, err := withoutVersion(s)
	if err != nil {
		return err
	}
	n := 0
	for field := range strings.SplitSeq(s, " ") {
		if n == len(fields) {
			return fmt.Errorf("more than %d fields", len(fields))
		}
		fields[n] = field
		n++
	}
	if n < len(fields) {
		return fmt.Errorf("%d fields instead of %d", n, len(fields))
	}
	for _, w := range words {
		if fields[w.field] != w.word {
			return fmt.Errorf("field %d is not %q", w.field+2, w.word)
		}
	}
	return nil
}

func appendTime(b []byte, seconds int64) []byte {
	return time.Unix(seconds, 0).UTC().AppendFormat(b, time.RFC3339)
}

func parseTime(s string, seconds *int64) error {
	t, err := time.Parse(time.RFC3339, s)
	*seconds = t.Unix()
	return err
}
