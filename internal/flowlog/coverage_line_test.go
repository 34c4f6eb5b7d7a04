package flowlog

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

func TestCoverageLineIsReadBack(t *testing.T) {
	for _, c := range []Coverage{
		{Start: 1795314600, End: 1795314615, Status: StatusComplete, Flows: 950, Records: 700, Late: 1, Merged: 249, Discarded: 2, Raised: 3},
		{Start: 1795314600, End: 1795314615, Status: StatusPartial, Final: true, Cause: CauseGoldmaneRestart},
	} {
		lr := plog.NewLogRecord()
		c.WriteTo(lr)
		assert.False(t, IsGap(lr.Body().Str()))
		got, err := ParseCoverage(lr.Body().Str())
		require.NoError(t, err)
		assert.Equal(t, c, got)
	}
}

func TestGapLineIsReadBack(t *testing.T) {
	g := Gap{From: 1795314600, To: 1795314795, Window: 15, Cause: CauseRingOverrun}
	lr := plog.NewLogRecord()
	g.WriteTo(lr)
	assert.True(t, IsGap(lr.Body().Str()))
	got, err := ParseGap(lr.Body().Str())
	require.NoError(t, err)
	assert.Equal(t, g, got)
}

func TestWhatIsNoCoverageIsRefused(t *testing.T) {
	for _, line := range []string{
		"", "hello", "window x",
		"window 2026-11-22T02:10:00Z 2026-11-22T02:10:15Z complete final cause - flows x records 700 late 1 merged 250 discarded 0 raised 2",
		"gap 2026-11-22T02:10:00Z 2026-11-22T02:13:15Z missing final cause goldmane_restart windows 0",
		"gap 2026-11-22T02:10:00Z 2026-11-22T02:10:00Z missing final cause goldmane_restart windows 1",
	} {
		_, err := ParseCoverage(line)
		require.ErrorIs(t, err, ErrNotCoverage, line)
		_, err = ParseGap(line)
		require.ErrorIs(t, err, ErrNotCoverage, line)
	}
}
