package flowlog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// The line is the record's body: everything about the flow but its labels, its
// window and its identities, in one order, as a person reads it:
//
//	deny payments/api-* -> monitoring/grafana-* 3000/tcp via monitoring/grafana:http:80
//	by np:default/monitoring/deny-all#eot=deny both allow/deny conns 1/0/0 sent 3/180
//	back 0/0 egress profile:kns.payments#0=allow
//	ingress np:default/monitoring/deny-all#eot=deny pending - -
//
// It holds the whole of a flow's key, so that no two records of a window share a
// line: Loki's metric queries take two entries with one timestamp and one line for
// the same entry.

// AppendLine appends the flow's line to b and returns it with a hash of the flow's
// key: everything in the line but the counters and whether it came late. Equal keys have equal hashes in
// every window and every process.
func (f *Flow) AppendLine(b []byte) (line []byte, key uint64) {
	start := len(b)
	b = appendOrEmpty(b, f.Action)
	b = append(b, ' ')
	b = appendEndpoint(b, &f.Source)
	b = append(b, " -> "...)
	b = appendEndpoint(b, &f.Destination)
	b = append(b, ' ')
	b = f.appendPort(b)
	b = append(b, '/')
	b = appendToken(b, f.Transport, escapeSlash)
	b = append(b, " via "...)
	b = appendService(b, &f.Service)
	b = append(b, " by "...)
	b = appendOrEmpty(b, f.Deciding)
	b = append(b, ' ')
	b = appendOrEmpty(b, f.Reporter)
	b = append(b, ' ')
	b = appendOrEmpty(b, f.SourceAction)
	b = append(b, '/')
	b = appendOrEmpty(b, f.DestinationAction)
	var h xxhash.Digest
	h.Reset()
	_, _ = h.Write(b[start:]) // never fails

	b = append(b, " conns "...)
	b = appendCounts(b, f.ConnectionsStarted, f.ConnectionsCompleted, f.ConnectionsLive)
	b = append(b, " sent "...)
	b = appendCounts(b, f.SourcePackets, f.SourceBytes)
	b = append(b, " back "...)
	b = appendCounts(b, f.DestinationPackets, f.DestinationBytes)

	start = len(b)
	b = append(b, " egress "...)
	b = appendOrEmpty(b, f.Egress)
	b = append(b, " ingress "...)
	b = appendOrEmpty(b, f.Ingress)
	b = append(b, " pending "...)
	b = appendOrEmpty(b, f.EgressPending)
	b = append(b, ' ')
	b = appendOrEmpty(b, f.IngressPending)
	_, _ = h.Write(b[start:])
	if f.Late {
		b = append(b, late...)
	}
	return b, h.Sum64()
}

// late ends the line of a flow that came late.
const late = " late"

// lineFields is the number of blanks in a line, plus one.
const lineFields = 24

// lineWords are the fixed words of a line, by the field they stand in.
var lineWords = [...]struct {
	field int
	word  string
}{
	{2, "->"},
	{5, "via"},
	{7, "by"},
	{11, "conns"},
	{13, "sent"},
	{15, "back"},
	{17, "egress"},
	{19, "ingress"},
	{21, "pending"},
}

// ErrNotALine is returned by ParseLine, wrapped, for a text that AppendLine did
// not write.
var ErrNotALine = errors.New("not the line of a flow record")

// ParseLine reads a line that AppendLine wrote. The labels and the window are not
// in the line and stay empty. The Flow's strings alias s.
func ParseLine(s string) (Flow, error) {
	var f Flow
	if err := f.parseLine(s); err != nil {
		return Flow{}, fmt.Errorf("%w: %w: %.80q", ErrNotALine, err, s)
	}
	return f, nil
}

func (f *Flow) parseLine(s string) (err error) {
	var fields [lineFields]string
	s, f.Late = strings.CutSuffix(s, late)
	n := 0
	for field := range strings.SplitSeq(s, " ") {
		if n == lineFields {
			return fmt.Errorf("more than %d fields", lineFields)
		}
		fields[n] = field
		n++
	}
	if n < lineFields {
		return fmt.Errorf("%d fields instead of %d", n, lineFields)
	}
	for _, w := range lineWords {
		if fields[w.field] != w.word {
			return fmt.Errorf("field %d is not %q", w.field+1, w.word)
		}
	}
	f.Action = orEmpty(fields[0])
	f.Deciding = orEmpty(fields[8])
	f.Reporter = orEmpty(fields[9])
	f.Egress, f.Ingress = orEmpty(fields[18]), orEmpty(fields[20])
	f.EgressPending, f.IngressPending = orEmpty(fields[22]), orEmpty(fields[23])
	source, destination, ok := strings.Cut(fields[10], "/")
	if !ok {
		return errors.New("verdicts without a slash")
	}
	f.SourceAction, f.DestinationAction = orEmpty(source), orEmpty(destination)
	return errors.Join(
		parseEndpoint(fields[1], &f.Source),
		parseEndpoint(fields[3], &f.Destination),
		f.parsePort(fields[4]),
		parseService(fields[6], &f.Service),
		parseCounts(fields[12], &f.ConnectionsStarted, &f.ConnectionsCompleted, &f.ConnectionsLive),
		parseCounts(fields[14], &f.SourcePackets, &f.SourceBytes),
		parseCounts(fields[16], &f.DestinationPackets, &f.DestinationBytes),
	)
}

func orEmpty(s string) string {
	if s == empty {
		return ""
	}
	return s
}

// Endpoints of the type network that have a name of their own in the line.
const (
	internet = "internet"
	private  = "private"
)

// appendEndpoint writes namespace/name for a workload, and type:name or
// type:namespace/name for the rest. A namespace that is missing is left out where
// the name cannot be taken for it.
func appendEndpoint(b []byte, e *Endpoint) []byte {
	switch e.Type {
	case TypeWorkload:
		b = append(appendToken(b, e.Namespace, escapeSlash|escapeColon), '/')
		return appendToken(b, e.Name, 0)
	case TypeNetwork:
		if e.Namespace == "" && e.Name == NetworkPublic {
			return append(b, internet...)
		}
		if e.Namespace == "" && e.Name == NetworkPrivate {
			return append(b, private...)
		}
	}
	b = append(appendToken(b, e.Type, escapeSlash|escapeColon), ':')
	if e.Namespace != "" || strings.IndexByte(e.Name, '/') >= 0 {
		b = append(appendToken(b, e.Namespace, escapeSlash), '/')
	}
	return appendToken(b, e.Name, 0)
}

func parseEndpoint(s string, e *Endpoint) (err error) {
	switch s {
	case internet:
		*e = Endpoint{Type: TypeNetwork, Name: NetworkPublic}
		return nil
	case private:
		*e = Endpoint{Type: TypeNetwork, Name: NetworkPrivate}
		return nil
	}
	*e = Endpoint{Type: TypeWorkload}
	rest := s
	colon, slash := strings.IndexByte(s, ':'), strings.IndexByte(s, '/')
	typed := colon >= 0 && (slash < 0 || colon < slash)
	if typed {
		if e.Type, err = parseToken(s[:colon]); err != nil {
			return err
		}
		rest = s[colon+1:]
	}
	namespace, name, ok := strings.Cut(rest, "/")
	if !ok {
		if !typed {
			return errors.New("an endpoint without a slash or a type")
		}
		namespace, name = "", rest
	}
	if e.Namespace, err = parseToken(namespace); err != nil {
		return err
	}
	e.Name, err = parseToken(name)
	return err
}

func (f *Flow) appendPort(b []byte) []byte {
	switch {
	case f.ICMP != 0:
		b = strconv.AppendInt(b, int64(f.ICMPType()), 10)
		b = append(b, '.')
		return strconv.AppendInt(b, int64(f.ICMPCode()), 10)
	case f.Port != 0:
		return strconv.AppendInt(b, f.Port, 10)
	}
	return append(b, empty...)
}

func (f *Flow) parsePort(s string) (err error) {
	port, transport, ok := strings.Cut(s, "/")
	if !ok {
		return errors.New("a port without a transport")
	}
	if f.Transport, err = parseToken(transport); err != nil || port == empty {
		return err
	}
	if icmpType, icmpCode, ok := strings.Cut(port, "."); ok {
		t, terr := strconv.ParseUint(icmpType, 10, 8)
		c, cerr := strconv.ParseUint(icmpCode, 10, 8)
		f.SetICMP(int64(t<<8 | c))
		return errors.Join(terr, cerr)
	}
	f.Port, err = strconv.ParseInt(port, 10, 64)
	return err
}

// SetICMP takes Calico's packing of type and code, type<<8|code.
func (f *Flow) SetICMP(packed int64) { f.ICMP = int32(packed&0xffff) + 1 }

// ICMPType returns the ICMP type of a flow whose ICMP is not 0.
func (f *Flow) ICMPType() uint8 { return uint8((f.ICMP - 1) >> 8) }

// ICMPCode returns the ICMP code of a flow whose ICMP is not 0.
func (f *Flow) ICMPCode() uint8 { return uint8(f.ICMP - 1) }

// appendService writes namespace/name:portname:port, or "-" where no Service was
// dialled.
func appendService(b []byte, s *Service) []byte {
	if *s == (Service{}) {
		return append(b, empty...)
	}
	b = append(appendToken(b, s.Namespace, escapeSlash|escapeColon), '/')
	b = append(appendToken(b, s.Name, escapeColon), ':')
	b = append(appendToken(b, s.PortName, escapeColon), ':')
	return strconv.AppendInt(b, s.Port, 10)
}

func parseService(s string, v *Service) error {
	if s == empty {
		return nil
	}
	namespace, rest, ok := strings.Cut(s, "/")
	parts := strings.Split(rest, ":")
	if !ok || len(parts) != 3 {
		return errors.New("a service that is not namespace/name:portname:port")
	}
	var errs [4]error
	v.Namespace, errs[0] = parseToken(namespace)
	v.Name, errs[1] = parseToken(parts[0])
	v.PortName, errs[2] = parseToken(parts[1])
	v.Port, errs[3] = strconv.ParseInt(parts[2], 10, 64)
	return errors.Join(errs[:]...)
}

func appendCounts(b []byte, counts ...int64) []byte {
	for i, n := range counts {
		if i > 0 {
			b = append(b, '/')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return b
}

func parseCounts(s string, counts ...*int64) error {
	for i, n := range counts {
		value, rest, more := strings.Cut(s, "/")
		if more != (i < len(counts)-1) {
			return fmt.Errorf("counters that are not %d numbers", len(counts))
		}
		var err error
		if *n, err = strconv.ParseInt(value, 10, 64); err != nil {
			return err
		}
		s = rest
	}
	return nil
}
