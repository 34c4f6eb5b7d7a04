package goldmanereceiver

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// generated is what the generated code reads, in the form of our own reader.
func generated(t testing.TB, list *goldmane.FlowListResult) []wireFlow {
	t.Helper()
	var all []wireFlow
	for _, row := range list.Flows {
		f := row.GetFlow()
		w := wireFlow{hasFlow: f != nil, hasKey: f.GetKey() != nil, hasPolicies: f.GetKey().GetPolicies() != nil}
		for _, l := range []struct {
			from []string
			to   *[]flowlog.Label
		}{{f.GetSourceLabels(), &w.sourceLabels}, {f.GetDestLabels(), &w.destLabels}} {
			for _, label := range l.from {
				k, v, ok := strings.Cut(label, "=")
				if k != "" {
					*l.to = append(*l.to, flowlog.Label{Key: k, Value: v})
				}
				if label != "" && (!ok || k == "") {
					w.badLabels++
				}
			}
		}
		w.start, w.end = f.GetStartTime(), f.GetEndTime()
		w.packetsIn, w.packetsOut, w.bytesIn, w.bytesOut = f.GetPacketsIn(), f.GetPacketsOut(), f.GetBytesIn(), f.GetBytesOut()
		w.started, w.completed, w.alive = f.GetNumConnectionsStarted(), f.GetNumConnectionsCompleted(), f.GetNumConnectionsLive()
		k := f.GetKey()
		w.sourceName, w.sourceNamespace, w.sourceType = k.GetSourceName(), k.GetSourceNamespace(), k.GetSourceType()
		w.destName, w.destNamespace, w.destType, w.destPort = k.GetDestName(), k.GetDestNamespace(), k.GetDestType(), k.GetDestPort()
		w.service.name, w.service.namespace, w.service.portName = k.GetDestServiceName(), k.GetDestServiceNamespace(), k.GetDestServicePortName()
		w.servicePort, w.proto, w.reporter, w.action = k.GetDestServicePort(), k.GetProto(), k.GetReporter(), k.GetAction()
		policies, err := proto.MarshalOptions{Deterministic: true}.Marshal(k.GetPolicies())
		require.NoError(t, err)
		w.policies = string(policies)
		all = append(all, w)
	}
	return all
}

// ours is what our own reader reads.
func ours(a answer) ([]wireFlow, error) {
	var all []wireFlow
	set, err := labelglob.Compile([]string{"*"})
	if err != nil {
		return nil, err
	}
	every := set.Filter()
	err = a.eachFlow(&every, func(f *wireFlow) { all = append(all, *f) })
	return all, err
}

func assertSame(t testing.TB, list *goldmane.FlowListResult) {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(list)
	require.NoError(t, err)
	got, err := ours(answer{string(b)})
	require.NoError(t, err)
	require.Equal(t, generated(t, list), got)
	require.Equal(t, len(list.Flows), answer{string(b)}.count())
}

// fill gives every field of a message a random value, or leaves it out.
func fill(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		n := r.IntN(3)
		switch {
		case n == 0 || depth > 5:
		case field.IsList():
			list := m.Mutable(field).List()
			for range n {
				if field.Kind() == protoreflect.MessageKind {
					e := list.NewElement()
					fill(r, e.Message(), depth+1)
					list.Append(e)
				} else {
					list.Append(value(r, field))
				}
			}
		case field.Kind() == protoreflect.MessageKind:
			fill(r, m.Mutable(field).Message(), depth+1)
		default:
			m.Set(field, value(r, field))
		}
	}
}

func value(r *rand.Rand, field protoreflect.FieldDescriptor) protoreflect.Value {
	numbers := []int64{0, 1, -1, 127, 128, 1 << 31, 1<<63 - 1, -1 << 63, r.Int64()}
	n := numbers[r.IntN(len(numbers))]
	switch field.Kind() {
	case protoreflect.StringKind:
		words := []string{"", "a", "k=v", "=", "k", "ä=ö", strings.Repeat("x", r.IntN(300))}
		return protoreflect.ValueOfString(words[r.IntN(len(words))])
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(n)))
	default:
		return protoreflect.ValueOfInt64(n)
	}
}

func TestReaderReadsWhatTheGeneratedCodeReads(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var list goldmane.FlowListResult
		fill(r, list.ProtoReflect(), 0)
		assertSame(t, &list)
	}
	assertSame(t, &goldmane.FlowListResult{Flows: rows(1)})
	assertSame(t, &goldmane.FlowListResult{})
}

// A newer Goldmane may send fields that nobody here knows: they change nothing.
func TestReaderSkipsUnknownFields(t *testing.T) {
	list := &goldmane.FlowListResult{Flows: []*goldmane.FlowResult{row()}}
	var unknown []byte
	unknown = protowire.AppendVarint(protowire.AppendTag(unknown, 100, protowire.VarintType), 7)
	unknown = protowire.AppendFixed32(protowire.AppendTag(unknown, 101, protowire.Fixed32Type), 7)
	unknown = protowire.AppendFixed64(protowire.AppendTag(unknown, 102, protowire.Fixed64Type), 7)
	unknown = protowire.AppendString(protowire.AppendTag(unknown, 13, protowire.BytesType), "source_ips")
	for _, m := range []proto.Message{list, list.Flows[0], list.Flows[0].Flow, list.Flows[0].Flow.Key} {
		m.ProtoReflect().SetUnknown(unknown)
	}
	assertSame(t, list)
}

// Calico adds the addresses of both ends to a flow, repeated strings (calico#13063): they are
// skipped, and what stands around them is read.
func TestReaderSkipsAddresses(t *testing.T) {
	flow := func(f *goldmane.Flow) {
		var addresses []byte
		for _, number := range []protowire.Number{13, 14} {
			for _, ip := range []string{"10.0.0.1", "2001:db8::1", ""} {
				addresses = protowire.AppendString(protowire.AppendTag(addresses, number, protowire.BytesType), ip)
			}
		}
		f.ProtoReflect().SetUnknown(addresses)
	}
	with, without := []*goldmane.FlowResult{row(flow), row(atDestination, flow)}, []*goldmane.FlowResult{row(), row(atDestination)}
	assertSame(t, &goldmane.FlowListResult{Flows: with})
	got, c := assemble(t, true, with...)
	want, _ := assemble(t, true, without...)
	assert.Equal(t, lines(want), lines(got))
	assert.Zero(t, c.discarded)
	assert.Zero(t, c.odd)
	p, n, err := pairsOf(windowStart, encode(t, with...))
	require.NoError(t, err)
	q, _, err := pairsOf(windowStart, encode(t, without...))
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Equal(t, q, p)
}

func TestReaderRefusesWhatIsNoMessage(t *testing.T) {
	b, err := proto.Marshal(&goldmane.FlowListResult{Flows: []*goldmane.FlowResult{row()}})
	require.NoError(t, err)
	for n := range b {
		if n == 0 {
			continue // an empty message
		}
		_, err := ours(answer{string(b[:n])})
		require.ErrorIs(t, err, errWire, "%d bytes of %d", n, len(b))
	}
	_, err = ours(answer{"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"})
	require.ErrorIs(t, err, errWire, "a length beyond all bounds")
	_, err = ours(answer{"\x0b\x0c"})
	require.ErrorIs(t, err, errWire, "a group")
}

func TestTextThatIsNotUTF8IsMended(t *testing.T) {
	r := row()
	r.Flow.Key.SourceName = "abc"
	b, err := proto.Marshal(&goldmane.FlowListResult{Flows: []*goldmane.FlowResult{r}})
	require.NoError(t, err)
	c, err := newConverter([]string{"*"})
	require.NoError(t, err)
	w, err := alone(answer{strings.Replace(string(b), "abc", "a\xffc", 1)}, c, true)
	require.NoError(t, err)
	assert.Contains(t, w.records[0].line, "frontend/a\uFFFDc ")
	assert.Equal(t, oddities{badText: 1}, c.odd)
}

func TestPoliciesThatCannotBeDecodedAreLeftOut(t *testing.T) {
	var odd oddities
	traces := traces{odd: &odd}
	for range 2 { // decoded, then remembered
		assert.Empty(t, traces.of("\x0a\xff").enforced)
	}
	assert.Equal(t, oddities{badPolicies: 2}, odd)
}

func TestTracesAreDecodedOnce(t *testing.T) {
	var odd oddities
	traces := traces{odd: &odd}
	b, err := proto.Marshal(row().Flow.Key.Policies)
	require.NoError(t, err)
	first := traces.of(string(b))
	assert.Equal(t, "profile:kns.frontend#0=allow", first.enforced)
	assert.Same(t, first, traces.of(string(b)))
	for i := range uint64(2 * traceCacheSize) {
		hit := protowire.AppendVarint([]byte{0x38}, i) // rule_index
		traces.of(string(append([]byte{0x0a, byte(len(hit))}, hit...)))
	}
	assert.LessOrEqual(t, len(traces.cached), traceCacheSize)
}

func FuzzReader(f *testing.F) {
	b, err := proto.Marshal(&goldmane.FlowListResult{Flows: []*goldmane.FlowResult{row(), row(atDestination), row(denied)}})
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = ours(answer{string(b)}) // must not panic, whatever it is
		var list goldmane.FlowListResult
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &list) == nil {
			assertSame(t, &list)
		}
		c, err := newConverter(nil)
		require.NoError(t, err)
		if w, err := alone(answer{string(b)}, c, true); err == nil {
			w.logs(0, len(w.records))
		}
	})
}
