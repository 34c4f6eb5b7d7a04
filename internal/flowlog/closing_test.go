package flowlog

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

func TestClosingRecord(t *testing.T) {
	c := Closing{Start: 1699999200, End: 1700002800, Sequence: 9120, Edges: 700, Complete: 238, Total: 240}
	lr := plog.NewLogRecord()
	c.WriteTo(lr)
	assert.Equal(t, "v2 closed 2023-11-14T22:00:00Z 2023-11-14T23:00:00Z 9120 edges 700 covered 238/240", lr.Body().Str())
	assert.Equal(t, EventClosing, lr.EventName())
	assert.Equal(t, int64(1700002799), lr.Timestamp().AsTime().Unix(), "where the rollups are looked for")
	assert.Equal(t, map[string]any{
		EdgeIntervalStart: int64(1699999200), EdgeIntervalEnd: int64(1700002800), EdgeSequence: int64(9120),
		EdgeIntervalEdges: int64(700), EdgeWindowsComplete: int64(238), EdgeWindowsTotal: int64(240),
	}, lr.Attributes().AsRaw())
	got, err := ParseClosing(lr.Body().Str())
	require.NoError(t, err)
	assert.Equal(t, c, got)
	for _, line := range []string{"", rollupLine, "closed", "v2 closed", "v2 closed x y 1 edges 2 covered 3/4", lr.Body().Str() + " more"} {
		_, err := ParseClosing(line)
		require.ErrorIs(t, err, ErrNotAClosing, line)
	}
	assert.NotContains(t, lr.Body().Str(), "rollup ")
	assert.NotContains(t, lr.Body().Str(), FinalText(), "who adds up final rollups does not meet it")
}
