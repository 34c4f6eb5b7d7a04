package svcidprocessor

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/labelglob"
)

// side is an end of a flow.
type side uint8

const (
	source side = iota
	destination
	sideCount
)

// field is an attribute that each side has, and that the processor reads.
type field uint8

const (
	fieldType field = iota
	fieldName
	fieldNamespace
	fieldLabels
	fieldIdentity
	fieldReason
	fieldServiceName
	fieldServiceNamespace
	fieldCount
)

// readKeys are the attributes that the processor reads. A source dials no Service to
// itself: it has no such attributes.
var readKeys = [sideCount][fieldCount]string{
	source: {
		fieldType:      flowlog.SourceType,
		fieldName:      flowlog.SourceName,
		fieldNamespace: flowlog.SourceNamespace,
		fieldLabels:    flowlog.SourceLabels,
		fieldIdentity:  flowlog.SourceIdentity,
		fieldReason:    flowlog.SourceIdentityReason,
	},
	destination: {
		fieldType:      flowlog.DestinationType,
		fieldName:      flowlog.DestinationName,
		fieldNamespace: flowlog.DestinationNamespace,
		fieldLabels:    flowlog.DestinationLabels,
		fieldIdentity:  flowlog.DestinationIdentity,
		fieldReason:    flowlog.DestinationIdentityReason,

		fieldServiceName:      flowlog.DestinationServiceName,
		fieldServiceNamespace: flowlog.DestinationServiceNamespace,
	},
}

var basisKeys = [sideCount]string{
	source:      flowlog.SourceIdentityBasis,
	destination: flowlog.DestinationIdentityBasis,
}

// fieldOf says which of readKeys key is. It is a switch, not a map, because it is asked
// for each of a record's 25 attributes, and the compiler makes a search by length of it.
func fieldOf(key string) (s side, f field, ok bool) {
	switch key {
	case flowlog.SourceType:
		return source, fieldType, true
	case flowlog.SourceName:
		return source, fieldName, true
	case flowlog.SourceNamespace:
		return source, fieldNamespace, true
	case flowlog.SourceLabels:
		return source, fieldLabels, true
	case flowlog.SourceIdentity:
		return source, fieldIdentity, true
	case flowlog.SourceIdentityReason:
		return source, fieldReason, true
	case flowlog.DestinationType:
		return destination, fieldType, true
	case flowlog.DestinationName:
		return destination, fieldName, true
	case flowlog.DestinationNamespace:
		return destination, fieldNamespace, true
	case flowlog.DestinationLabels:
		return destination, fieldLabels, true
	case flowlog.DestinationIdentity:
		return destination, fieldIdentity, true
	case flowlog.DestinationIdentityReason:
		return destination, fieldReason, true
	case flowlog.DestinationServiceName:
		return destination, fieldServiceName, true
	case flowlog.DestinationServiceNamespace:
		return destination, fieldServiceNamespace, true
	}
	return 0, 0, false
}

// tally is what a batch adds to the counters.
type tally struct {
	endpoints [sideCount][basisCount][reasonCount]int64
	malformed [sideCount][fieldCount]int64
}

// stamper writes identities on records. It holds what would otherwise be allocated for
// each of them. Not safe for concurrent use.
type stamper struct {
	rules *rules
	keep  labelglob.Filter
	names interner
	tally tally
}

// found holds the first value of each attribute that is read.
type found struct {
	values [sideCount][fieldCount]pcommon.Value
	has    [sideCount][fieldCount]bool
}

// stamp writes the identities on a flow record and trims its labels. It leaves other
// records alone.
func (st *stamper) stamp(record plog.LogRecord) {
	attrs := record.Attributes()
	var in found
	for key, value := range attrs.All() {
		if s, f, ok := fieldOf(key); ok && !in.has[s][f] {
			in.values[s][f], in.has[s][f] = value, true
		}
	}
	if !in.has[source][fieldType] && !in.has[destination][fieldType] && !isFlowEvent(record.EventName()) {
		return
	}

	// Everything is read before anything is written: a write may move the values.
	var verdicts [sideCount]verdict // no identity: one is there
	room := 0
	for s := range sideCount {
		e := st.read(&in, s)
		if st.text(&in, s, fieldIdentity) != "" {
			continue
		}
		v, malformed := st.rules.identify(&e, &st.names)
		verdicts[s] = v
		st.tally.malformed[s][fieldLabels] += malformed
		st.tally.endpoints[s][v.basis][v.reason]++
		if room += 2; v.reason != reasonNone {
			room++
		}
	}

	for s := range sideCount {
		if in.has[s][fieldLabels] {
			st.dropLabels(attrs, readKeys[s][fieldLabels])
		}
	}

	attrs.EnsureCapacity(attrs.Len() + room)
	for s, v := range verdicts {
		if v.identity == "" {
			continue
		}
		attrs.PutStr(readKeys[s][fieldIdentity], v.identity)
		attrs.PutStr(basisKeys[s], basisNames[v.basis])
		if v.reason != reasonNone {
			attrs.PutStr(readKeys[s][fieldReason], reasonNames[v.reason])
		} else if in.has[s][fieldReason] { // left behind by somebody, without an identity
			attrs.Remove(readKeys[s][fieldReason])
		}
	}
}

// isFlowEvent reports whether an event is that of a flow record or of a preview of one.
func isFlowEvent(event string) bool {
	return event == flowlog.EventName || event == flowlog.EventPreview
}

// dropLabels trims the labels attribute of that key, and removes it where nothing is
// left; every one, should the key be there twice.
func (st *stamper) dropLabels(attrs pcommon.Map, key string) {
	if st.keep.None() {
		// Remove fills the gap with the last attribute. RemoveIf moves all that follow:
		// measured, 1.3 µs a record for the whole processor instead of 1.0 µs.
		for attrs.Remove(key) {
		}
		return
	}
	attrs.RemoveIf(func(k string, value pcommon.Value) bool {
		return k == key && !trimLabels(value, &st.keep)
	})
}

func (st *stamper) read(in *found, s side) endpoint {
	e := endpoint{
		kind:      st.text(in, s, fieldType),
		name:      st.text(in, s, fieldName),
		namespace: st.text(in, s, fieldNamespace),

		serviceName:      st.text(in, s, fieldServiceName),
		serviceNamespace: st.text(in, s, fieldServiceNamespace),
	}
	if in.has[s][fieldLabels] {
		if v := in.values[s][fieldLabels]; v.Type() == pcommon.ValueTypeMap {
			e.labels, e.hasLabels = v.Map(), true
		} else {
			st.tally.malformed[s][fieldLabels]++
		}
	}
	return e
}

// text returns "" for what is absent, and counts what is no string.
func (st *stamper) text(in *found, s side, f field) string {
	if !in.has[s][f] {
		return ""
	}
	v := in.values[s][f]
	if v.Type() != pcommon.ValueTypeStr {
		st.tally.malformed[s][f]++
		return ""
	}
	return v.Str()
}
