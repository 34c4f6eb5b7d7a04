package labelglob

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeeps(t *testing.T) {
	for _, test := range []struct {
		globs   []string
		key     string
		matches bool
	}{
		{nil, "app", false},
		{[]string{"*"}, "app.kubernetes.io/name", true},
		{[]string{"*"}, "", true},
		{[]string{"app"}, "app", true},
		{[]string{"app"}, "apps", false},
		{[]string{"app"}, "my-app", false},
		{[]string{"app*"}, "app.kubernetes.io/name", true},
		{[]string{"app.kubernetes.io/*"}, "appXkubernetes.io/name", false},
		{[]string{"a?p"}, "app", true},
		{[]string{"a?p"}, "ap", false},
		{[]string{"a*a"}, "a", false},
		{[]string{"team", "tier"}, "tier", true},
		{[]string{"team", "tier"}, "team|tier", false},
	} {
		set, err := Compile(test.globs)
		require.NoError(t, err)
		filter := set.Filter()
		for range 2 { // computed, then remembered
			assert.Equal(t, test.matches, filter.Keeps(test.key), "%q on %q", test.globs, test.key)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, glob := range []string{"", "app{", "[a", "a b", "a,b", `a\`, "ä"} {
		_, err := Compile([]string{"app", glob})
		assert.ErrorIs(t, err, ErrGlob, glob)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	set, err := Compile([]string{"*7"})
	require.NoError(t, err)
	filter := set.Filter()
	for i := range 3 * memoryKeys {
		key := strconv.Itoa(i)
		require.Equal(t, key[len(key)-1] == '7', filter.Keeps(key))
		require.LessOrEqual(t, len(filter.memo), memoryKeys)
	}
	before := len(filter.memo)
	filter.Keeps(string(make([]byte, memoryBytes+1)))
	assert.Len(t, filter.memo, before, "a key no label can have is not remembered")
}
