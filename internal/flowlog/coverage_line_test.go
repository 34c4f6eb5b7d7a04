package flowlog

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
)

func TestCoverageLineIsReadBack(t *testing.T) {
	for _, c := range []Coverage{
		{Start: 1795314600, End: 1795314615, Status: StatusComplete, Flows: 950, Records: 700, Late: 1, Merged: 249, Discarded: 2, Raised: 3, Withheld: 4, Pairs: 5, OneSided: 6},
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
		"", "hello", "v2 window x", "v2 gap",
		"window 2026-11-22T02:10:00Z 2026-11-22T02:10:15Z complete final cause - flows 950 records 700 late 1 merged 250 discarded 0 raised 2",
		"v2 window 2026-11-22T02:10:00Z 2026-11-22T02:10:15Z complete final cause - flows x records 700 late 1 merged 250 discarded 0 raised 2 withheld 0 pairs 1 one_sided 0",
		"v2 gap 2026-11-22T02:10:00Z 2026-11-22T02:13:15Z missing final cause goldmane_restart windows 0",
		"v2 gap 2026-11-22T02:10:00Z 2026-11-22T02:10:00Z missing final cause goldmane_restart windows 1",
		"v2 gap 2026-11-22T02:10:00Z 2026-11-22T02:13:15Z missing final cause goldmane_restart windows 7",
		"v2 gap 2026-11-22T02:10:00Z 2026-11-22T02:10:15Z missing final cause goldmane_restart windows 100",
	} {
		_, err := ParseCoverage(line)
		require.ErrorIs(t, err, ErrNotCoverage, line)
		_, err = ParseGap(line)
		require.ErrorIs(t, err, ErrNotCoverage, line)
	}
}
