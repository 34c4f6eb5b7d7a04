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
	fieldCount
)

// readKeys are the attributes that the processor reads.
var readKeys = [sideCount][fieldCount]string{
	source: {
		fieldType:      flowlog.SourceType,
		fieldName:      flowlog.SourceName,
		fieldNamespace: flowlog.SourceNamespace,
		fieldLabels:    flowlog.SourceLabels,
		fieldIdentity:  flowlog.SourceIdentity,
	},
	destination: {
		fieldType:      flowlog.DestinationType,
		fieldName:      flowlog.DestinationName,
		fieldNamespace: flowlog.DestinationNamespace,
		fieldLabels:    flowlog.DestinationLabels,
		fieldIdentity:  flowlog.DestinationIdentity,
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
	}
	return 0, 0, false
}

// tally is what a batch adds to the counters.
type tally struct {
	endpoints [sideCount][basisCount]int64
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
	if !in.has[source][fieldType] && !in.has[destination][fieldType] && record.EventName() != flowlog.EventName {
		return
	}

	// Everything is read before anything is written: a write may move the values.
	var identities [sideCount]string // "": one is there
	var bases [sideCount]basis
	for s := range sideCount {
		e := st.read(&in, s)
		if st.text(&in, s, fieldIdentity) != "" {
			continue
		}
		var malformed int64
		identities[s], bases[s], malformed = st.rules.identify(&e, &st.names)
		st.tally.malformed[s][fieldLabels] += malformed
		st.tally.endpoints[s][bases[s]]++
	}

	for s := range sideCount {
		if in.has[s][fieldLabels] {
			st.dropLabels(attrs, readKeys[s][fieldLabels])
		}
	}

	for s := range sideCount {
		if identities[s] == "" {
			continue
		}
		attrs.EnsureCapacity(attrs.Len() + 2*int(sideCount-s)) // at once for both sides
		attrs.PutStr(readKeys[s][fieldIdentity], identities[s])
		attrs.PutStr(basisKeys[s], basisNames[bases[s]])
	}
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
