package svcidprocessor

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// ends are the attributes of one end, without the side's prefix.
type end struct {
	kind, name, namespace any
	labels                any
	service               string // "namespace/name" of the Kubernetes Service, of destinations
}

func (e end) putOn(attrs raw, s side) {
	for f, value := range map[field]any{fieldType: e.kind, fieldName: e.name, fieldNamespace: e.namespace, fieldLabels: e.labels} {
		if value != nil {
			attrs[readKeys[s][f]] = value
		}
	}
	if namespace, name, ok := strings.Cut(e.service, "/"); ok {
		attrs[flowlog.DestinationServiceNamespace], attrs[flowlog.DestinationServiceName] = namespace, name
	}
}

func TestRules(t *testing.T) {
	identity := func(v any) raw { return raw{"service-identity": v, "team": "sre"} }
	tests := []struct {
		name      string
		end       end
		want      string
		basis     string
		reason    string
		malformed []field
	}{
		{
			name: "single-Service namespace", end: end{"workload", "api-7d9-*", "payments", identity("ignored"), ""},
			want: "payments", basis: flowlog.BasisNamespace,
		},
		{
			name: "single-Service namespace without name and labels", end: end{kind: "workload", namespace: "payments"},
			want: "payments", basis: flowlog.BasisNamespace,
		},
		{
			name: "label", end: end{"workload", "grafana-*", "monitoring", identity("grafana"), ""},
			want: "monitoring/grafana", basis: flowlog.BasisLabel,
		},
		{
			name: "first label wins", end: end{"workload", "x-*", "monitoring", raw{"app.kubernetes.io/name": "second", "service-identity": "first"}, ""},
			want: "monitoring/first", basis: flowlog.BasisLabel,
		},
		{
			name: "second label where the first is absent", end: end{"workload", "x-*", "monitoring", raw{"app.kubernetes.io/name": "second"}, ""},
			want: "monitoring/second", basis: flowlog.BasisLabel,
		},
		{
			name: "second label where the first is empty", end: end{"workload", "x-*", "monitoring", raw{"app.kubernetes.io/name": "second", "service-identity": ""}, ""},
			want: "monitoring/second", basis: flowlog.BasisLabel,
		},
		{
			name: "second label where the first is no string", end: end{"workload", "x-*", "monitoring", raw{"app.kubernetes.io/name": "second", "service-identity": 1}, ""},
			want: "monitoring/second", basis: flowlog.BasisLabel, malformed: []field{fieldLabels},
		},
		{
			name: "no label of the list", end: end{"workload", "x-*", "monitoring", raw{"team": "sre"}, ""},
			want: "monitoring/?", basis: flowlog.BasisUnlabelled, reason: flowlog.ReasonMissing,
		},
		{
			name: "empty label", end: end{"workload", "x-*", "kube-system", identity(""), ""},
			want: "kube-system/?", basis: flowlog.BasisUnlabelled, reason: flowlog.ReasonMissing,
		},
		{
			name: "no labels", end: end{"workload", "x-*", "monitoring", nil, ""},
			want: "monitoring/?", basis: flowlog.BasisUnlabelled, reason: flowlog.ReasonMissing,
		},
		{
			name: "labels are no map", end: end{"workload", "x-*", "monitoring", "service-identity=grafana", ""},
			want: "monitoring/?", basis: flowlog.BasisUnlabelled, reason: flowlog.ReasonMissing, malformed: []field{fieldLabels},
		},
		{
			name: "malformed labels count where they do not matter too", end: end{"workload", "x-*", "payments", []any{"a"}, ""},
			want: "payments", basis: flowlog.BasisNamespace, malformed: []field{fieldLabels},
		},
		{
			name: "workload without namespace", end: end{"workload", "x-*", nil, identity("grafana"), ""},
			want: "?", basis: flowlog.BasisUnknown,
		},
		{
			name: "workload with empty namespace", end: end{"workload", "x-*", "", nil, ""},
			want: "?", basis: flowlog.BasisUnknown,
		},
		{
			name: "workload with malformed namespace", end: end{"workload", "x-*", 7, nil, ""},
			want: "?", basis: flowlog.BasisUnknown, malformed: []field{fieldNamespace},
		},
		{
			name: "namespaces are whole names", end: end{"workload", "x-*", "monitoring-2", nil, ""},
			want: "monitoring-2", basis: flowlog.BasisNamespace,
		},

		{
			name: "host", end: end{"host", "node-1.example.com", nil, identity("ignored"), ""},
			want: "host:node-1.example.com", basis: flowlog.BasisHost,
		},
		{name: "host without name", end: end{kind: "host"}, want: "?", basis: flowlog.BasisUnknown},
		{
			name: "host with malformed name", end: end{kind: "host", name: []byte("node-1")},
			want: "?", basis: flowlog.BasisUnknown, malformed: []field{fieldName},
		},

		{
			name: "network set, bare name", end: end{"networkset", "partners", "payments", nil, ""},
			want: "networkset:payments/partners", basis: flowlog.BasisNetworkSet,
		},
		{
			name: "network set, name with namespace", end: end{"networkset", "payments/partners", "payments", nil, ""},
			want: "networkset:payments/partners", basis: flowlog.BasisNetworkSet,
		},
		{
			name: "network set, name with namespace only", end: end{"networkset", "payments/partners", nil, nil, ""},
			want: "networkset:payments/partners", basis: flowlog.BasisNetworkSet,
		},
		{
			name: "network set named like its namespace", end: end{"networkset", "payments", "payments", nil, ""},
			want: "networkset:payments/payments", basis: flowlog.BasisNetworkSet,
		},
		{
			name: "network set whose name starts like its namespace", end: end{"networkset", "payments-eu", "payments", nil, ""},
			want: "networkset:payments/payments-eu", basis: flowlog.BasisNetworkSet,
		},
		{
			name: "global network set", end: end{"networkset", "blocklist", nil, nil, ""},
			want: "networkset:blocklist", basis: flowlog.BasisNetworkSet,
		},
		{
			name: "network set in a multi-Service namespace", end: end{"networkset", "scrapers", "monitoring", identity("ignored"), ""},
			want: "networkset:monitoring/scrapers", basis: flowlog.BasisNetworkSet,
		},
		{
			name: "network set without name", end: end{kind: "networkset", namespace: "payments"},
			want: "?", basis: flowlog.BasisUnknown,
		},

		{name: "public", end: end{kind: "network", name: "pub"}, want: "internet", basis: flowlog.BasisNetwork},
		{name: "private", end: end{kind: "network", name: "pvt"}, want: "private", basis: flowlog.BasisNetwork},
		{name: "other network", end: end{kind: "network", name: "aws"}, want: "?", basis: flowlog.BasisUnknown},
		{name: "network without name", end: end{kind: "network"}, want: "?", basis: flowlog.BasisUnknown},

		{
			name: "type in another case", end: end{"Workload", "x", "payments", nil, ""},
			want: "?", basis: flowlog.BasisUnknown,
		},
		{name: "unknown type", end: end{"type-9", "x", "payments", nil, ""}, want: "?", basis: flowlog.BasisUnknown},
		{name: "empty type", end: end{"", "x", "payments", nil, ""}, want: "?", basis: flowlog.BasisUnknown},
		{
			name: "malformed type", end: end{1, "x", "payments", nil, ""},
			want: "?", basis: flowlog.BasisUnknown, malformed: []field{fieldType},
		},
		{name: "nothing at all", end: end{}, want: "?", basis: flowlog.BasisUnknown},
	}
	for _, tt := range tests {
		for s := range sideCount {
			t.Run(fmt.Sprintf("%s/%s", sideNames[s], tt.name), func(t *testing.T) {
				attrs := raw{}
				tt.end.putOn(attrs, s)
				end{kind: "network", name: "pub"}.putOn(attrs, 1-s)
				record := newRecord(t, attrs)
				st := newStamper(t, testConfig())

				st.stamp(record)

				got := record.Attributes().AsRaw()
				assert.Equal(t, tt.want, got[readKeys[s][fieldIdentity]])
				assert.Equal(t, tt.basis, got[basisKeys[s]])
				assert.Equal(t, tt.reason, textOf(got, readKeys[s][fieldReason]))
				assert.Equal(t, "internet", got[readKeys[1-s][fieldIdentity]], "the other end")
				assert.Equal(t, "network", got[basisKeys[1-s]], "the other end")

				var want tally
				want.endpoints[1-s][basisNetwork][reasonNone] = 1
				want.endpoints[s][basisOf(t, tt.basis)][reasonOf(t, tt.reason)]++
				for _, f := range tt.malformed {
					want.malformed[s][f] = 1
				}
				assert.Equal(t, want, st.tally)
			})
		}
	}
}

// The Service that was dialled names an end that Calico does not know, and only that.
func TestServiceThatWasDialled(t *testing.T) {
	tests := []struct {
		name        string
		end         end
		want, basis string
	}{
		{"private address", end{kind: "network", name: "pvt", service: "default/kubernetes"}, "default", flowlog.BasisService},
		{"public address", end{kind: "network", name: "pub", service: "payments/partner"}, "payments", flowlog.BasisService},
		{"private address, multi-Service namespace", end{kind: "network", name: "pvt", service: "monitoring/node-exporter"}, "monitoring/node-exporter", flowlog.BasisService},
		{"unknown type", end{kind: "type-9", name: "x", service: "payments/api"}, "payments", flowlog.BasisService},
		{"workload without a namespace", end{kind: "workload", name: "x", service: "payments/api"}, "payments", flowlog.BasisService},
		{"nothing but the Service", end{service: "payments/api"}, "payments", flowlog.BasisService},
		{"Service without a namespace", end{kind: "network", name: "pvt", service: "/api"}, "private", flowlog.BasisNetwork},
		{"Service without a name", end{kind: "type-9", service: "payments/"}, "?", flowlog.BasisUnknown},

		{"workload", end{kind: "workload", name: "x", namespace: "orders", service: "payments/api"}, "orders", flowlog.BasisNamespace},
		{"unlabelled workload", end{kind: "workload", name: "x", namespace: "monitoring", service: "monitoring/grafana"}, "monitoring/?", flowlog.BasisUnlabelled},
		{"host", end{kind: "host", name: "node-1", service: "default/kubernetes"}, "host:node-1", flowlog.BasisHost},
		{"network set", end{kind: "networkset", name: "partners", service: "payments/partner"}, "networkset:partners", flowlog.BasisNetworkSet},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			attrs := raw{}
			tt.end.putOn(attrs, destination)
			record := newRecord(t, attrs)
			record.SetEventName(flowlog.EventName)
			newStamper(t, testConfig()).stamp(record)
			got := record.Attributes().AsRaw()
			assert.Equal(t, tt.want, got[flowlog.DestinationIdentity])
			assert.Equal(t, tt.basis, got[flowlog.DestinationIdentityBasis])
			assert.Equal(t, "?", got[flowlog.SourceIdentity], "a source has no Service")
		})
	}
}

// A glob without a namespace is for global sets only: whoever may make a NetworkSet in a
// namespace called corp-a must not be able to hide what is outside.
func TestInternalNetworkSets(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.InternalNetworkSets = []string{"corp-*", "payments/card-schemes", "*/lab", "dc?"}
	for _, tt := range []struct {
		name, namespace any
		want            string
	}{
		{"corp-vpn", nil, "internal:corp-vpn"},
		{"dc1", nil, "internal:dc1"},
		{"dc10", nil, "networkset:dc10"},
		{"my-corp-vpn", nil, "networkset:my-corp-vpn"},
		{"lab", nil, "networkset:lab"},
		{"payments/card-schemes", "payments", "internal:payments/card-schemes"},
		{"card-schemes", "payments", "internal:payments/card-schemes"},
		{"payments/card-schemes", nil, "internal:payments/card-schemes"},
		{"payments/partners", "payments", "networkset:payments/partners"},
		{"card-schemes", "orders", "networkset:orders/card-schemes"},
		{"lab", "orders", "internal:orders/lab"},
		{"everything", "corp-a", "networkset:corp-a/everything"},
		{"corp-vpn", "orders", "networkset:orders/corp-vpn"},
	} {
		attrs := raw{}
		for s := range sideCount {
			end{kind: "networkset", name: tt.name, namespace: tt.namespace}.putOn(attrs, s)
		}
		record := newRecord(t, attrs)
		newStamper(t, cfg).stamp(record)
		got := record.Attributes().AsRaw()
		for s := range sideCount {
			assert.Equal(t, tt.want, got[readKeys[s][fieldIdentity]])
			assert.Equal(t, flowlog.BasisNetworkSet, got[basisKeys[s]])
		}
	}
}

func TestSeparator(t *testing.T) {
	cfg := testConfig()
	cfg.Separator = "|"
	record := newRecord(t, raw{
		flowlog.SourceType: "workload", flowlog.SourceNamespace: "monitoring", flowlog.SourceLabels: raw{"service-identity": "grafana"},
		flowlog.DestinationType: "workload", flowlog.DestinationNamespace: "monitoring",
	})
	newStamper(t, cfg).stamp(record)
	assert.Equal(t, "monitoring|grafana", record.Attributes().AsRaw()[flowlog.SourceIdentity])
	assert.Equal(t, "monitoring|?", record.Attributes().AsRaw()[flowlog.DestinationIdentity])
}

func basisOf(t *testing.T, name string) basis {
	t.Helper()
	for b, n := range basisNames {
		if n == name {
			return basis(b)
		}
	}
	require.Fail(t, "no such basis", name)
	return 0
}

func reasonOf(t *testing.T, name string) reason {
	t.Helper()
	for r, n := range reasonNames {
		if n == name {
			return reason(r)
		}
	}
	require.Fail(t, "no such reason", name)
	return 0
}

// textOf returns "" for an attribute that is not there.
func textOf(attrs raw, key string) string {
	text, _ := attrs[key].(string)
	return text
}

func TestReadKeysAndFieldOfAgree(t *testing.T) {
	for s := range sideCount {
		for f := range fieldCount {
			if readKeys[s][f] == "" {
				continue
			}
			gotSide, gotField, ok := fieldOf(readKeys[s][f])
			assert.True(t, ok, readKeys[s][f])
			assert.Equal(t, s, gotSide, readKeys[s][f])
			assert.Equal(t, f, gotField, readKeys[s][f])
		}
		_, _, ok := fieldOf(basisKeys[s])
		assert.False(t, ok, "a basis is written, never read")
	}
}

func TestInterner(t *testing.T) {
	var in interner
	assert.Equal(t, "host:a", in.join("host:", "a"))
	assert.Equal(t, "networkset:a/b", in.join("networkset:", "a", "/", "b"))
	assert.Equal(t, "host:a", in.join("host:", "a"))
	assert.Len(t, in.seen, 2)

	long := strings.Repeat("x", maxInternedLen)
	assert.Equal(t, "host:"+long, in.join("host:", long))
	assert.Len(t, in.seen, 2, "what is too long is not held")

	for i := range 3 * maxInterned {
		name := strconv.Itoa(i)
		require.Equal(t, "host:"+name, in.join("host:", name))
		require.LessOrEqual(t, len(in.seen), maxInterned)
	}
}
