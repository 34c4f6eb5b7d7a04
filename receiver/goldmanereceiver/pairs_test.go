package goldmanereceiver

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/goldmane"
)

func typed(kind goldmane.EndpointType, namespace, name string) func(*goldmane.Flow) {
	return func(f *goldmane.Flow) {
		f.Key.DestType, f.Key.DestNamespace, f.Key.DestName = kind, namespace, name
	}
}

// A host and a network set of one name are two ends: their flows share neither a pair nor a
// key.
func TestEndsOfOneNameAndTwoTypes(t *testing.T) {
	host := row(typed(goldmane.EndpointType_HostEndpoint, "", "partners"))
	set := row(typed(goldmane.EndpointType_NetworkSet, "", "partners"))
	p, n, err := pairsOf(windowStart, encode(t, host, set))
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Len(t, p.hashes, 2)
	w, _ := assemble(t, true, host, set)
	l := w.ledger()
	require.Len(t, l, 2)
	assert.NotEqual(t, l[0].key, l[1].key)
	assert.Len(t, w.records, 2)
}

// Nothing that one node alone knows, or tells in another way, parts the two reports of a pair.
func TestReportsOfOnePair(t *testing.T) {
	for name, rows := range map[string][]*goldmane.FlowResult{
		"the Service and the policies": {row(), row(atDestination)},
		"the network set's namespace": {
			row(typed(goldmane.EndpointType_NetworkSet, "payments", "payments/banks")), row(typed(goldmane.EndpointType_NetworkSet, "", "payments/banks")),
		},
		"capitals, and dashes for nothing": {
			row(typed(goldmane.EndpointType_Network, "-", "pub")), row(typed(goldmane.EndpointType_Network, "", "pub"), func(f *goldmane.Flow) { f.Key.Proto = "TCP" }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, err := pairsOf(windowStart, encode(t, rows...))
			require.NoError(t, err)
			assert.Len(t, p.hashes, 1)
		})
	}
	p, _, err := pairsOf(windowStart, encode(t, row(), row(port(8081)), row(func(f *goldmane.Flow) { f.StartTime += 15 })))
	require.NoError(t, err)
	assert.Len(t, p.hashes, 2, "other ports are other pairs, and other windows' rows are none")
}

func TestPairsAreKept(t *testing.T) {
	one, _, err := pairsOf(windowStart, encode(t, row(), row(port(1)), row(port(2), atDestination)))
	require.NoError(t, err)
	two, _, err := pairsOf(windowStart, encode(t, row(atDestination), row(port(1), atDestination, denied), row(port(3))))
	require.NoError(t, err)
	again, err := decodePairs(one.encode())
	require.NoError(t, err)
	assert.Equal(t, one, again)

	all := one.with(two)
	assert.True(t, all.known)
	assert.Len(t, all.hashes, 4)
	near := one.near([]pairs{two})
	require.Equal(t, one.hashes, near.hashes)
	for i, hash := range one.hashes {
		assert.Equal(t, one.said[i]|two.of(hash), near.said[i])
		assert.Equal(t, near.said[i], all.of(hash))
	}

	none, err := decodePairs(nil)
	require.NoError(t, err)
	assert.False(t, none.known)
	empty, err := decodePairs(pairs{known: true}.encode())
	require.NoError(t, err)
	assert.True(t, empty.known, "a window without flows is known")
	for _, garbage := range [][]byte{{0}, {9}, {1, 2}, []byte("garbage"), append(one.encode(), 0)} {
		_, err := decodePairs(garbage)
		require.ErrorIs(t, err, errPairs)
	}
}
