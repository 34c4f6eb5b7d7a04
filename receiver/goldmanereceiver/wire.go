package goldmanereceiver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// Goldmane's answer is read in place: it stays one string, and what is read from it
// are parts of that string. Generated code would make 44 objects of a flow, which is
// most of the time that a flow costs (BenchmarkFloor against BenchmarkWindow); this
// makes none. The field numbers are those of goldmane.proto, and a test holds this
// reader to the generated code.

// answer is what List answered, as it came.
type answer struct{ text string }

// answerCodec is gRPC's own codec, but for an answer, which it leaves as it came.
type answerCodec struct{ encoding.CodecV2 }

func newAnswerCodec() answerCodec { return answerCodec{encoding.GetCodecV2(protocodec.Name)} }

// Unmarshal implements encoding.CodecV2.
func (c answerCodec) Unmarshal(data mem.BufferSlice, v any) error {
	a, ok := v.(*answer)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	var text strings.Builder
	text.Grow(data.Len())
	for _, part := range data {
		text.Write(part.ReadOnlyData())
	}
	a.text = text.String()
	return nil
}

// wireFlow is a goldmane.Flow whose parts are parts of the answer.
type wireFlow struct {
	hasFlow, hasKey, hasPolicies bool

	sourceName, sourceNamespace string
	destName, destNamespace     string
	service                     struct{ name, namespace, portName string }
	proto                       string
	sourceType, destType        goldmane.EndpointType
	destPort, servicePort       int64
	reporter                    goldmane.Reporter
	action                      goldmane.Action
	// policies is the encoded PolicyTrace: few differ, and each is decoded once.
	policies string

	start, end                int64
	sourceLabels, destLabels  []flowlog.Label
	packetsIn, packetsOut     int64
	bytesIn, bytesOut         int64
	started, completed, alive int64

	// badText counts strings that were not UTF-8 and have been mended: one such
	// string would make Loki refuse a whole batch.
	badText int64
	// badLabels counts labels without an equals sign or a key.
	badLabels int64
}

// errWire is returned for an answer that is no Protocol Buffers message, wrapped
// with where it ceases to be one.
var errWire = errors.New("not a message of Goldmane's")

// Wire types of Protocol Buffers.
const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

// wireReader reads the fields of one message. After next returned true, exactly one
// of the value methods is to be called.
type wireReader struct {
	rest   string
	number uint64
	kind   uint64
	failed bool
}

// next goes to the next field and returns false at the end, or where there is none.
func (r *wireReader) next() bool {
	if r.rest == "" || r.failed {
		return false
	}
	tag := r.varint()
	r.number, r.kind = tag>>3, tag&7
	if r.number == 0 || r.number > 1<<29-1 {
		r.failed = true
	}
	return !r.failed
}

// varint reads a number. Most are of one byte: tags, and lengths of names.
func (r *wireReader) varint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		v := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(v)
	}
	return r.longVarint()
}

func (r *wireReader) longVarint() uint64 {
	var v uint64
	for i := 0; i < len(r.rest) && i < 10; i++ {
		b := r.rest[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.rest = r.rest[i+1:]
			r.failed = r.failed || i == 9 && b > 1
			return v
		}
	}
	r.failed = true
	return 0
}

func (r *wireReader) take(n uint64) string {
	if n > uint64(len(r.rest)) {
		r.failed = true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

// isBytes and isVarint report whether the field is of the kind that its number
// stands for; a field of another kind is skipped, as the generated code does.
func (r *wireReader) isBytes(number uint64) bool {
	return r.number == number && r.kind == wireBytes
}

func (r *wireReader) bytes() string { return r.take(r.varint()) }

// skip passes over a field that nobody here knows.
func (r *wireReader) skip() {
	switch r.kind {
	case wireVarint:
		r.varint()
	case wireFixed8:
		r.take(8)
	case wireBytes:
		r.bytes()
	case wireFixed4:
		r.take(4)
	default:
		r.failed = true // groups, which proto3 does not have
	}
}

// eachFlow calls f with every row of the answer, whose wireFlow is valid during the
// call only; its strings stay valid.
func (a answer) eachFlow(keep *labelglob.Filter, f func(*wireFlow)) error {
	var flow wireFlow
	labels := labelRoom{keep: keep}
	r := wireReader{rest: a.text}
	for r.next() {
		if !r.isBytes(2) { // FlowListResult.flows
			r.skip()
			continue
		}
		flow = wireFlow{}
		if !flow.readResult(r.bytes(), &labels) {
			r.failed = true
		}
		if !r.failed {
			f(&flow)
		}
	}
	if r.failed {
		return fmt.Errorf("%w: it breaks off %d bytes before the end of %d", errWire, len(r.rest), len(a.text))
	}
	return nil
}

// only is the answer with those of its rows alone, which are in order.
func (a answer) only(rows []int32) answer {
	var text []byte
	n := int32(0)
	for r := (wireReader{rest: a.text}); r.next() && len(rows) > 0; {
		if !r.isBytes(2) {
			r.skip()
			continue
		}
		row := r.bytes()
		if n == rows[0] {
			text = appendRow(text, row)
			rows = rows[1:]
		}
		n++
	}
	return answer{string(text)}
}

// and is both answers as one: a message that comes in parts is the parts joined.
func (a answer) and(b answer) answer { return answer{a.text + b.text} }

// appendRow adds a FlowResult to an answer, as a row of FlowListResult.
func appendRow(answer []byte, row string) []byte {
	answer = binary.AppendUvarint(append(answer, 2<<3|wireBytes), uint64(len(row)))
	return append(answer, row...)
}

// count is the number of rows in the answer, for making room.
func (a answer) count() int {
	n := 0
	for r := (wireReader{rest: a.text}); r.next(); r.skip() {
		if r.isBytes(2) {
			n++
		}
	}
	return n
}

// readResult reads a FlowResult.
func (f *wireFlow) readResult(message string, labels *labelRoom) bool {
	r := wireReader{rest: message}
	for r.next() {
		if r.isBytes(2) {
			f.hasFlow = true
			r.failed = !f.readFlow(r.bytes(), labels) || r.failed
		} else {
			r.skip()
		}
	}
	return !r.failed
}

// readFlow reads a Flow.
func (f *wireFlow) readFlow(message string, labels *labelRoom) bool {
	r := wireReader{rest: message}
	for r.next() {
		switch {
		case r.isBytes(1):
			f.hasKey = true
			r.failed = !f.readKey(r.bytes()) || r.failed
		case labels.keep == nil && (r.isBytes(4) || r.isBytes(5)):
			r.skip() // not looked at: labels are the greater part of a flow
		case r.isBytes(4):
			f.sourceLabels = labels.add(f.sourceLabels, f.label(&r))
		case r.isBytes(5):
			f.destLabels = labels.add(f.destLabels, f.label(&r))
		case r.kind == wireVarint && r.number <= 12:
			v := int64(r.varint())
			switch r.number {
			case 2:
				f.start = v
			case 3:
				f.end = v
			case 6:
				f.packetsIn = v
			case 7:
				f.packetsOut = v
			case 8:
				f.bytesIn = v
			case 9:
				f.bytesOut = v
			case 10:
				f.started = v
			case 11:
				f.completed = v
			case 12:
				f.alive = v
			}
		default:
			r.skip()
		}
	}
	return !r.failed
}

// readKey reads a FlowKey.
func (f *wireFlow) readKey(message string) bool {
	r := wireReader{rest: message}
	for r.next() {
		switch {
		case r.isBytes(15):
			// A message that comes in parts is the parts joined.
			f.hasPolicies = true
			if policies := r.bytes(); f.policies == "" {
				f.policies = policies
			} else {
				f.policies += policies
			}
		case r.kind == wireBytes && r.number <= 12:
			if to := f.keyString(r.number); to != nil {
				*to = f.text(&r)
			} else {
				r.skip()
			}
		case r.kind == wireVarint && r.number <= 14:
			v := r.varint()
			switch r.number {
			case 3:
				f.sourceType = goldmane.EndpointType(v)
			case 6:
				f.destType = goldmane.EndpointType(v)
			case 7:
				f.destPort = int64(v)
			case 11:
				f.servicePort = int64(v)
			case 13:
				f.reporter = goldmane.Reporter(v)
			case 14:
				f.action = goldmane.Action(v)
			}
		default:
			r.skip()
		}
	}
	return !r.failed
}

// keyString is where a string field of FlowKey goes, nil for a number that is none.
func (f *wireFlow) keyString(number uint64) *string {
	switch number {
	case 1:
		return &f.sourceName
	case 2:
		return &f.sourceNamespace
	case 4:
		return &f.destName
	case 5:
		return &f.destNamespace
	case 8:
		return &f.service.name
	case 9:
		return &f.service.namespace
	case 10:
		return &f.service.portName
	case 12:
		return &f.proto
	}
	return nil
}

// label reads "key=value"; values may hold further equals signs. One without any is a
// key with an empty value: Kubernetes has such values, and nothing is lost. One without
// a key is the zero Label.
func (f *wireFlow) label(r *wireReader) flowlog.Label {
	s := f.text(r)
	key, value, ok := strings.Cut(s, "=")
	if s != "" && (!ok || key == "") {
		f.badLabels++
	}
	if key == "" {
		return flowlog.Label{}
	}
	return flowlog.Label{Key: key, Value: value}
}

// text reads a string, mended where it is not UTF-8.
func (f *wireFlow) text(r *wireReader) string {
	s := r.bytes()
	if utf8.ValidString(s) {
		return s
	}
	f.badText++
	return strings.ToValidUTF8(s, "\uFFFD")
}

// labelRoom holds the labels of many flows in few pieces: those that keep keeps, or none
// where that is nil.
type labelRoom struct {
	keep *labelglob.Filter
	room []flowlog.Label
	// from is where the newest list begins in room.
	from int
}

// labelRoomSize is how many labels one piece of room takes.
const labelRoomSize = 4096

// add appends a label to list, which is empty or came from add.
func (l *labelRoom) add(list []flowlog.Label, label flowlog.Label) []flowlog.Label {
	switch {
	case label == flowlog.Label{}:
		return list // among them Goldmane's empty intersection, once split
	case l.keep == nil || !l.keep.All() && !l.keep.Keeps(label.Key):
		return list
	case len(list) == 0:
		l.from = len(l.room)
	case l.from+len(list) != len(l.room) || &list[0] != &l.room[l.from]:
		// Another list was begun since; this one moves behind it.
		l.from = len(l.room)
		l.room = append(l.room, list...)
	}
	if len(l.room) == cap(l.room) {
		l.room = append(make([]flowlog.Label, 0, len(list)+labelRoomSize), l.room[l.from:]...)
		l.from = 0
	}
	l.room = append(l.room, label)
	return l.room[l.from:len(l.room):len(l.room)]
}
