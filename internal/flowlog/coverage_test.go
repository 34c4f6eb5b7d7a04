package flowlog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/plog"
)

func TestCoverageRecord(t *testing.T) {
	lr := plog.NewLogRecord()
	c := Coverage{
		Start: 1700000010, End: 1700000025, Status: StatusPartial, Cause: CauseGoldmaneRestart, Final: true,
		Flows: 6, Records: 5, Late: 4, Merged: 3, Discarded: 2, Raised: 1, Withheld: 7, Pairs: 9, OneSided: 8,
	}
	c.WriteTo(lr)
	assert.Equal(t, "v2 window 2023-11-14T22:13:30Z 2023-11-14T22:13:45Z partial final cause goldmane_restart flows 6 records 5 late 4 merged 3 discarded 2 raised 1 withheld 7 pairs 9 one_sided 8", lr.Body().Str())
	assert.Equal(t, EventCoverage, lr.EventName())
	assert.Equal(t, time.Unix(1700000010, 0).UTC(), lr.Timestamp().AsTime())
	assert.Zero(t, lr.ObservedTimestamp())
	assert.Equal(t, map[string]any{
		FlowStart: int64(1700000010), FlowEnd: int64(1700000025),
		CoverageStatus: "partial", CoverageFinal: true, CoverageCause: "goldmane_restart",
		CoverageFlows: int64(6), CoverageRecords: int64(5), CoverageLate: int64(4),
		CoverageMerged: int64(3), CoverageDiscarded: int64(2), CoverageRaised: int64(1),
		CoverageWithheld: int64(7), CoveragePairs: int64(9), CoverageOneSided: int64(8),
	}, lr.Attributes().AsRaw())
}

func TestCoverageRecordOfACompleteWindowHasNoCause(t *testing.T) {
	lr := plog.NewLogRecord()
	(&Coverage{Start: 15, End: 30, Status: StatusComplete}).WriteTo(lr)
	assert.Equal(t, "v2 window 1970-01-01T00:00:15Z 1970-01-01T00:00:30Z complete settled cause - flows 0 records 0 late 0 merged 0 discarded 0 raised 0 withheld 0 pairs 0 one_sided 0", lr.Body().Str())
	assert.NotContains(t, lr.Attributes().AsRaw(), CoverageCause)
}

func TestGapRecord(t *testing.T) {
	lr := plog.NewLogRecord()
	g := Gap{From: 1700000010, To: 1700000055, Window: 15, Cause: CauseReceiverDown}
	g.WriteTo(lr)
	assert.Equal(t, "v2 gap 2023-11-14T22:13:30Z 2023-11-14T22:14:15Z missing final cause receiver_down windows 3", lr.Body().Str())
	assert.Equal(t, EventGap, lr.EventName())
	assert.Equal(t, time.Unix(1700000040, 0).UTC(), lr.Timestamp().AsTime(), "the last window in it")
	assert.Equal(t, map[string]any{
		FlowStart: int64(1700000010), FlowEnd: int64(1700000055),
		CoverageStatus: "missing", CoverageFinal: true, CoverageCause: "receiver_down", CoverageWindows: int64(3),
	}, lr.Attributes().AsRaw())
}
