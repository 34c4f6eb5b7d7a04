package flowlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// The line is the record's body: who talked to whom, the outcome and the counters, in
// one order, as a person reads it:
//
//	v2 deny payments/api-* -> monitoring/grafana-* 3000/tcp both,allow/deny 1/0 3/180 0/0 k3F
//
// What is long and has few different values is not in it: the Service and the policy
// traces. Loki keeps such a value once a chunk where it is an attribute, and once in
// every 64 KB where it is in the line, which made the line the greater part of what
// a record takes.
//
// A word stands for them: it is a hash of what is not in the line, so that no two records
// of a window share a line. Loki's metric queries take two entries with one timestamp and
// one line for the same entry. Marks follow it: uncounted, split, late.

// AppendLine appends the flow's line to b and returns it with a hash of the flow's
// key: everything but the counters and whether it came late. Equal keys have equal
// hashes in every window and every process. Keys of one source share the highest
// sourceBits, for Timestamp.
func (f *Flow) AppendLine(b []byte) (line []byte, key uint64) {
	b = appendVersion(b)
	start := len(b)
	b = appendOrEmpty(b, f.Action)
	b = append(b, ' ')
	from := len(b)
	b = appendEndpoint(b, &f.Source)
	source := xxhash.Sum64(b[from:])
	b = append(b, " -> "...)
	b = appendEndpoint(b, &f.Destination)
	b = append(b, ' ')
	b = f.appendPort(b)
	b = append(b, '/')
	b = appendToken(b, f.Transport, escapeSlash)
	b = append(b, ' ')
	b = f.appendReporter(b)
	var h xxhash.Digest
	h.Reset()
	_, _ = h.Write(b[start:]) // never fails

	b = append(b, ' ')
	b = f.appendConnections(b)
	b = append(b, ' ')
	b = appendCounts(b, f.SourcePackets, f.SourceBytes)
	b = append(b, ' ')
	b = appendCounts(b, f.DestinationPackets, f.DestinationBytes)

	b = append(b, ' ')
	b, rest := f.appendRest(b)
	var sum [8]byte
	binary.LittleEndian.PutUint64(sum[:], rest)
	_, _ = h.Write(sum[:])
	if !f.Counts {
		b = append(b, uncounted...)
	}
	if f.Split > 1 {
		b = strconv.AppendInt(append(b, split...), int64(f.Split), 10)
	}
	if f.Late {
		b = append(b, late...)
	}
	return b, source&^(1<<(64-sourceBits)-1) | h.Sum64()>>sourceBits
}

// Marks at the end of a line.
const (
	// uncounted: the record is in no sum. A line filter leaves it out: != " uncounted".
	uncounted = " uncounted"
	// split, and a number: the record was made of so many rows.
	split = " split:"
	// late: the flow was handed on after its window had been listed again.
	late = " late"
)

// restDigits are the characters of the line's last word, one for each six bits.
const restDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz."

// appendRest writes the hash of what is in attributes only, in three characters. It
// returns the whole hash as well. The text that is hashed is made in b's free room.
func (f *Flow) appendRest(b []byte) (line []byte, hash uint64) {
	text := appendService(b, &f.Service)
	for _, trace := range [...]string{f.Egress, f.Ingress, f.EgressPending, f.IngressPending} {
		text = append(text, ' ')
		text = append(text, trace...)
	}
	hash = xxhash.Sum64(text[len(b):])
	for bits, n := hash, 0; n < 3; n++ {
		text = append(text[:len(b)+n], restDigits[bits&63])
		bits >>= 6
	}
	return text[:len(b)+3], hash
}

// appendReporter writes the reporter, and both verdicts where they are not what it and
// the outcome imply: each side that reported did what came out, and the source's node
// allowed what is unconfirmed.
func (f *Flow) appendReporter(b []byte) []byte {
	b = appendOrEmpty(b, f.Reporter)
	source, destination := f.impliedVerdicts()
	if f.SourceAction == source && f.DestinationAction == destination {
		return b
	}
	b = appendOrEmpty(append(b, ','), f.SourceAction)
	return appendOrEmpty(append(b, '/'), f.DestinationAction)
}

func (f *Flow) impliedVerdicts() (source, destination string) {
	verdict := f.Action
	if verdict == ActionUnconfirmed {
		verdict = ActionAllow
	}
	if f.Reporter != ReporterDestination {
		source = verdict
	}
	if f.Reporter != ReporterSource {
		destination = verdict
	}
	return source, destination
}

func (f *Flow) parseReporter(s string) error {
	reporter, verdicts, given := strings.Cut(s, ",")
	f.Reporter = orEmpty(reporter)
	f.SourceAction, f.DestinationAction = f.impliedVerdicts()
	if !given {
		return nil
	}
	source, destination, ok := strings.Cut(verdicts, "/")
	if !ok {
		return errors.New("verdicts without a slash")
	}
	f.SourceAction, f.DestinationAction = orEmpty(source), orEmpty(destination)
	return nil
}

// appendConnections writes started/completed, and /live where that is not what started:
// it is in 60 % of what real Felixes reported, and in 64 % of the simulated cluster's records.
func (f *Flow) appendConnections(b []byte) []byte {
	b = appendCounts(b, f.ConnectionsStarted, f.ConnectionsCompleted)
	if f.ConnectionsLive != f.ConnectionsStarted {
		b = append(b, '/')
		b = appendCounts(b, f.ConnectionsLive)
	}
	return b
}

func (f *Flow) parseConnections(s string) error {
	if strings.Count(s, "/") == 2 {
		return parseCounts(s, &f.ConnectionsStarted, &f.ConnectionsCompleted, &f.ConnectionsLive)
	}
	err := parseCounts(s, &f.ConnectionsStarted, &f.ConnectionsCompleted)
	f.ConnectionsLive = f.ConnectionsStarted
	return err
}

// lineFields is the number of words in a line without its version and marks.
const lineFields = 10

// ErrNotALine is returned by ParseLine, wrapped, for a text that AppendLine did
// not write.
var ErrNotALine = errors.New("not the line of a flow record")

// ParseLine reads a line that AppendLine wrote. The labels, the window, the Service and
// the policies are not in the line and stay empty: ParseAttributes reads the last two.
// The Flow's strings alias s.
func ParseLine(s string) (Flow, error) {
	var f Flow
	if err := f.parseLine(s); err != nil {
		return Flow{}, fmt.Errorf("%w: %w: %.80q", ErrNotALine, err, s)
	}
	return f, nil
}

func (f *Flow) parseLine(s string) (err error) {
	s, err = withoutVersion(s)
	if err != nil {
		return err
	}
	var fields [lineFields]string
	if s, err = f.parseMarks(s); err != nil {
		return err
	}
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
	if fields[2] != "->" {
		return errors.New(`field 4 is not "->"`)
	}
	f.Action = orEmpty(fields[0])
	return errors.Join(
		parseEndpoint(fields[1], &f.Source),
		parseEndpoint(fields[3], &f.Destination),
		f.parsePort(fields[4]),
		f.parseReporter(fields[5]),
		f.parseConnections(fields[6]),
		parseCounts(fields[7], &f.SourcePackets, &f.SourceBytes),
		parseCounts(fields[8], &f.DestinationPackets, &f.DestinationBytes),
	)
}

// parseMarks reads the marks at the end of a line, and returns the line without them.
func (f *Flow) parseMarks(s string) (rest string, err error) {
	s, f.Late = strings.CutSuffix(s, late)
	if at := strings.LastIndex(s, split); at >= 0 {
		if f.Split, err = strconv.Atoi(s[at+len(split):]); err != nil || f.Split < 2 {
			return "", errors.New("a split that is not of two rows or more")
		}
		s = s[:at]
	}
	s, without := strings.CutSuffix(s, uncounted)
	f.Counts = !without
	return s, nil
}

// ParseAttributes reads what the line does not hold. get returns the value of a
// record's attribute, or "".
func (f *Flow) ParseAttributes(get func(attribute string) string) error {
	f.Egress, f.Ingress = get(PolicyEgress), get(PolicyIngress)
	f.EgressPending, f.IngressPending = get(PolicyEgressPending), get(PolicyIngressPending)
	f.Deciding = f.DecidingHit()
	f.StagedEnforced = HasStagedHit(f.Egress) || HasStagedHit(f.Ingress)
	f.Service = Service{}
	service := get(FlowService)
	if service == "" {
		return nil
	}
	if err := parseService(service, &f.Service); err != nil {
		return fmt.Errorf("attribute %s: %w: %.80q", FlowService, err, service)
	}
	return nil
}

// DecidingHit is the hit that made the outcome: the destination's where it decided,
// otherwise the source's; "" where no hit of this record did. Of what is unconfirmed it
// is the hit by which the source's node let it go.
func (f *Flow) DecidingHit() string {
	action := f.Action
	if action == ActionUnconfirmed {
		action = ActionAllow
	}
	hit := DecidingHit(f.Ingress, action)
	if hit != "" || f.DestinationAction != "" && f.DestinationAction != ActionAllow {
		return hit
	}
	return DecidingHit(f.Egress, action)
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
		f.ICMP = int32(t<<8|c) + 1
		return errors.Join(terr, cerr)
	}
	f.Port, err = strconv.ParseInt(port, 10, 64)
	return err
}

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
