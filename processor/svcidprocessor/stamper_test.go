package svcidprocessor

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

func TestWhatIsAFlowRecord(t *testing.T) {
	labels := raw{"service-identity": "grafana"}
	tests := []struct {
		name  string
		event string
		attrs raw
		flow  bool
	}{
		{name: "event name alone", event: flowlog.EventName, attrs: raw{}, flow: true},
		{name: "a preview's event name alone", event: flowlog.EventPreview, attrs: raw{}, flow: true},
		{name: "a coverage record's", event: flowlog.EventCoverage, attrs: raw{}},
		{name: "source type alone", attrs: raw{flowlog.SourceType: "network"}, flow: true},
		{name: "destination type alone", attrs: raw{flowlog.DestinationType: "network"}, flow: true},
		{name: "malformed type", attrs: raw{flowlog.DestinationType: 4}, flow: true},
		{name: "other event", event: "calico.other", attrs: raw{flowlog.SourceName: 3, flowlog.SourceLabels: labels}},
		{name: "no event", attrs: raw{"message": "hello", flowlog.DestinationLabels: labels}},
		{name: "no attributes", attrs: raw{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			record := newRecord(t, tt.attrs)
			record.SetEventName(tt.event)
			before := record.Attributes().AsRaw()
			st := newStamper(t, testConfig())

			st.stamp(record)

			if tt.flow {
				assert.Contains(t, record.Attributes().AsRaw(), flowlog.SourceIdentity)
				assert.Contains(t, record.Attributes().AsRaw(), flowlog.DestinationIdentityBasis)
				assert.NotZero(t, st.tally)
				return
			}
			assert.Equal(t, before, record.Attributes().AsRaw())
			assert.Zero(t, st.tally)
		})
	}
}

func TestKeepLabels(t *testing.T) {
	labels := raw{"service-identity": "grafana", "app.kubernetes.io/name": "grafana", "app.kubernetes.io/part-of": "o11y", "pod-template-hash": "7d9"}
	tests := []struct {
		name string
		keep []string
		in   any
		want any // nil: the attribute is removed
	}{
		{name: "none by default", in: labels},
		{name: "none kept of an empty map", in: raw{}},
		{name: "none kept of what is no map", in: "service-identity=grafana"},
		{name: "all", keep: []string{"*"}, in: labels, want: labels},
		{name: "all of an empty map", keep: []string{"*"}, in: raw{}},
		{name: "all of what is no map", keep: []string{"*"}, in: "service-identity=grafana"},
		{name: "all of a null", keep: []string{"*"}, in: pcommon.NewValueEmpty()},
		{name: "a star matches a slash", keep: []string{"app*"}, in: labels, want: raw{"app.kubernetes.io/name": "grafana", "app.kubernetes.io/part-of": "o11y"}},
		{name: "one of several globs", keep: []string{"nothing", "pod-*", "service-identity"}, in: labels, want: raw{"service-identity": "grafana", "pod-template-hash": "7d9"}},
		{name: "a question mark matches one character", keep: []string{"service?identity", "app.kubernetes.io/nam", "app.kubernetes.io/name?"}, in: labels, want: raw{"service-identity": "grafana"}},
		{name: "a dot is a dot", keep: []string{"app.kubernetes-io/name", "app.kubernetes.io.name"}, in: labels},
		{name: "the stars' ends do not overlap", keep: []string{"pod-template*template-hash"}, in: labels},
		{name: "no glob matches", keep: []string{"team"}, in: labels},
		{name: "a glob matches the whole key", keep: []string{"app"}, in: labels},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.KeepLabels = tt.keep
			record := newRecord(t, raw{
				flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring",
				flowlog.DestinationType: "workload", flowlog.DestinationNamespace: "monitoring",
			})
			for _, key := range []string{flowlog.SourceLabels, flowlog.DestinationLabels} {
				if v, ok := tt.in.(pcommon.Value); ok {
					v.CopyTo(record.Attributes().PutEmpty(key))
					continue
				}
				require.NoError(t, record.Attributes().PutEmpty(key).FromRaw(tt.in))
			}
			st := newStamper(t, cfg)

			st.stamp(record)

			got := record.Attributes().AsRaw()
			for _, key := range []string{flowlog.SourceLabels, flowlog.DestinationLabels} {
				if tt.want == nil {
					assert.NotContains(t, got, key)
				} else {
					assert.Equal(t, tt.want, got[key])
				}
			}
			if m, ok := tt.in.(raw); ok && len(m) > 0 {
				assert.Equal(t, "monitoring/grafana", got[flowlog.SourceIdentity], "the identity is read first")
				assert.Equal(t, "monitoring/grafana", got[flowlog.DestinationIdentity], "the identity is read first")
			}
		})
	}
}

// A key may come twice in what arrives by OTLP; Map's own methods cannot write that.
func TestRepeatedKeys(t *testing.T) {
	logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs([]byte(`{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": [
		{"key": "source.calico.endpoint.type", "value": {"stringValue": "workload"}},
		{"key": "source.k8s.namespace.name", "value": {"stringValue": "monitoring"}},
		{"key": "source.calico.endpoint.labels", "value": {"kvlistValue": {"values": [
			{"key": "service-identity", "value": {"stringValue": "first"}}, {"key": "service-identity", "value": {"stringValue": "third"}},
			{"key": "team", "value": {"stringValue": "secret"}}]}}},
		{"key": "source.calico.endpoint.type", "value": {"stringValue": "host"}},
		{"key": "source.k8s.namespace.name", "value": {"intValue": 4}},
		{"key": "source.calico.endpoint.labels", "value": {"kvlistValue": {"values": [
			{"key": "service-identity", "value": {"stringValue": "second"}},
			{"key": "team", "value": {"stringValue": "secret"}}]}}}
	]}]}]}]}`))
	require.NoError(t, err)
	record := recordsOf(logs).At(0)
	require.Equal(t, 6, record.Attributes().Len())

	again := plog.NewLogRecord()
	record.CopyTo(again)

	newStamper(t, testConfig()).stamp(record)

	got := record.Attributes().AsRaw()
	assert.Equal(t, "monitoring/first", got[flowlog.SourceIdentity], "the first value counts, as it does for Map.Get")
	assert.NotContains(t, got, flowlog.SourceLabels, "no copy of the labels stays")

	cfg := testConfig()
	cfg.KeepLabels = []string{"service-identity"}
	newStamper(t, cfg).stamp(again)
	for key, value := range again.Attributes().All() {
		if key == flowlog.SourceLabels {
			assert.NotContains(t, value.AsString(), "secret", "every copy is trimmed")
		}
	}
}

func TestIdentityOnTheRecordIsKept(t *testing.T) {
	attrs := raw{
		flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring", flowlog.SourceLabels: raw{"service-identity": "grafana"},
		flowlog.DestinationType: "network", flowlog.DestinationName: "pub",
	}
	t.Run("second pass changes nothing", func(t *testing.T) {
		record := newRecord(t, attrs)
		newStamper(t, testConfig()).stamp(record)
		once := record.Attributes().AsRaw()
		require.Equal(t, "monitoring/grafana", once[flowlog.SourceIdentity])
		require.NotContains(t, once, flowlog.SourceLabels)

		again := newStamper(t, testConfig())
		again.stamp(record)

		assert.Equal(t, once, record.Attributes().AsRaw())
		assert.Zero(t, again.tally, "only what this pass wrote is counted")
	})
	t.Run("second pass with other rules changes nothing", func(t *testing.T) {
		record := newRecord(t, attrs)
		newStamper(t, testConfig()).stamp(record)
		once := record.Attributes().AsRaw()
		newStamper(t, &Config{Labels: []string{"team"}}).stamp(record)
		assert.Equal(t, once, record.Attributes().AsRaw())
	})
	t.Run("second pass after the types are gone changes nothing", func(t *testing.T) {
		record := newRecord(t, raw{flowlog.SourceIdentity: "a", flowlog.SourceIdentityBasis: "label", flowlog.DestinationIdentity: "b", flowlog.DestinationIdentityBasis: "host"})
		once := record.Attributes().AsRaw()
		newStamper(t, testConfig()).stamp(record)
		assert.Equal(t, once, record.Attributes().AsRaw())
	})
	t.Run("one side only", func(t *testing.T) {
		record := newRecord(t, attrs)
		record.Attributes().PutStr(flowlog.SourceIdentity, "monitoring/kept")
		st := newStamper(t, testConfig())
		st.stamp(record)
		got := record.Attributes().AsRaw()
		assert.Equal(t, "monitoring/kept", got[flowlog.SourceIdentity])
		assert.NotContains(t, got, flowlog.SourceIdentityBasis, "what it rests on is not known here")
		assert.Equal(t, "internet", got[flowlog.DestinationIdentity])
		assert.NotContains(t, got, flowlog.SourceLabels, "labels are dropped all the same")
		var want tally
		want.endpoints[destination][basisNetwork][reasonNone] = 1
		assert.Equal(t, want, st.tally)
	})
	t.Run("an empty or malformed identity is none", func(t *testing.T) {
		record := newRecord(t, attrs)
		record.Attributes().PutStr(flowlog.SourceIdentity, "")
		record.Attributes().PutStr(flowlog.SourceIdentityBasis, "host")
		record.Attributes().PutInt(flowlog.DestinationIdentity, 4)
		st := newStamper(t, testConfig())
		st.stamp(record)
		got := record.Attributes().AsRaw()
		assert.Equal(t, "monitoring/grafana", got[flowlog.SourceIdentity])
		assert.Equal(t, "label", got[flowlog.SourceIdentityBasis])
		assert.Equal(t, "internet", got[flowlog.DestinationIdentity])
		assert.Equal(t, int64(1), st.tally.malformed[destination][fieldIdentity])
	})
}

// arbitraryRecord puts values of arbitrary kinds under the keys that the processor
// knows, and under others.
func arbitraryRecord(r *rand.Rand) plog.LogRecord {
	record := plog.NewLogRecord()
	if r.IntN(2) == 0 {
		record.SetEventName(flowlog.EventName)
	}
	keys := []string{"other", flowlog.FlowAction}
	for s := range sideCount {
		for _, key := range readKeys[s] {
			if key != "" {
				keys = append(keys, key)
			}
		}
		keys = append(keys, basisKeys[s])
	}
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys[:r.IntN(len(keys)+1)] {
		arbitraryValue(r, record.Attributes().PutEmpty(key), 2)
	}
	return record
}

func arbitraryValue(r *rand.Rand, v pcommon.Value, depth int) {
	words := []string{"", "workload", "host", "networkset", "network", "type-9", "pub", "pvt", "monitoring", "monitoring/x", "payments", "grafana", "-", "\xff"}
	switch r.IntN(12) {
	case 0: // stays empty
	case 1:
		v.SetInt(r.Int64())
	case 2:
		v.SetDouble(r.Float64())
	case 3:
		v.SetBool(true)
	case 4:
		v.SetEmptyBytes().FromRaw([]byte{0, 1})
	case 5:
		slice := v.SetEmptySlice()
		for range r.IntN(3) * min(depth, 1) {
			arbitraryValue(r, slice.AppendEmpty(), depth-1)
		}
	case 6, 7:
		m := v.SetEmptyMap()
		for range r.IntN(4) * min(depth, 1) {
			key := []string{"service-identity", "app.kubernetes.io/name", "team", ""}[r.IntN(4)]
			arbitraryValue(r, m.PutEmpty(key), depth-1)
		}
	default:
		v.SetStr(words[r.IntN(len(words))])
	}
}

// checkStamped states what holds for every record, whatever was on it.
func checkStamped(t testing.TB, before, after raw, flow bool) {
	t.Helper()
	if !flow {
		require.Equal(t, before, after)
		return
	}
	for s := range sideCount {
		identity, ok := after[readKeys[s][fieldIdentity]].(string)
		require.True(t, ok, "every end of a flow has an identity: %v", after)
		require.NotEmpty(t, identity)
		if kept, ok := before[readKeys[s][fieldIdentity]].(string); ok && kept != "" {
			require.Equal(t, kept, identity)
			require.Equal(t, before[basisKeys[s]], after[basisKeys[s]])
			continue
		}
		basis := after[basisKeys[s]]
		require.Contains(t, basisNames[:], basis)
		require.Equal(t, basis == flowlog.BasisUnknown, identity == "?", "%v rests on %v", identity, basis)
		require.Equal(t, basis == flowlog.BasisUnlabelled, strings.HasSuffix(identity, "/?"), "%v rests on %v", identity, basis)
		if labels, ok := after[readKeys[s][fieldLabels]]; ok {
			require.NotEmpty(t, labels)
			for key := range labels.(raw) {
				require.Equal(t, "team", key)
			}
		}
	}
}

func isFlow(record plog.LogRecord) bool {
	_, src := record.Attributes().Get(flowlog.SourceType)
	_, dst := record.Attributes().Get(flowlog.DestinationType)
	return src || dst || record.EventName() == flowlog.EventName || record.EventName() == flowlog.EventPreview
}

// An identity depends on its own record only: whatever the order of the records, and of
// each record's attributes, every record comes out the same. Arbitrary kinds of values
// never panic.
func TestOrderDoesNotMatter(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, seed))
	cfg := testConfig()
	cfg.KeepLabels = []string{"team"}
	for round := range 200 {
		records := make([]plog.LogRecord, 40)
		want := make([]raw, len(records))
		for i := range records {
			records[i] = arbitraryRecord(r)
			alone := plog.NewLogRecord()
			records[i].CopyTo(alone)
			newStamper(t, cfg).stamp(alone)
			want[i] = alone.Attributes().AsRaw()
			checkStamped(t, records[i].Attributes().AsRaw(), want[i], isFlow(records[i]))
		}
		st := newStamper(t, cfg)
		for _, i := range r.Perm(len(records)) {
			shuffled := shuffleAttributes(r, records[i])
			st.stamp(shuffled)
			require.Equal(t, want[i], shuffled.Attributes().AsRaw(), "seed %d, round %d, record %d", seed, round, i)
		}
	}
}

func shuffleAttributes(r *rand.Rand, record plog.LogRecord) plog.LogRecord {
	shuffled := plog.NewLogRecord()
	shuffled.SetEventName(record.EventName())
	var keys []string
	for key := range record.Attributes().All() {
		keys = append(keys, key)
	}
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		v, _ := record.Attributes().Get(key)
		v.CopyTo(shuffled.Attributes().PutEmpty(key))
	}
	return shuffled
}

// FuzzStamp feeds whatever the OTLP decoder lets through.
func FuzzStamp(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b, err := (&plog.ProtoMarshaler{}).MarshalLogs(newBatch(arbitraryRecord(r), arbitraryRecord(r)))
		require.NoError(f, err)
		f.Add(b)
	}
	st := newStamper(f, &Config{
		Separator: "/", Labels: []string{"service-identity", "app.kubernetes.io/name"},
		MultiServiceNamespaces: []string{"monitoring", "kube-system"},
		KeepLabels:             []string{"team"},
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(b)
		if err != nil {
			return
		}
		for _, resource := range logs.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					st.stamp(record)
					if !isFlow(record) {
						continue
					}
					for s := range sideCount {
						v, ok := record.Attributes().Get(readKeys[s][fieldIdentity])
						require.True(t, ok)
						require.Equal(t, pcommon.ValueTypeStr, v.Type())
						require.NotEmpty(t, v.Str())
					}
				}
			}
		}
	})
}
