package stack

import (
	"context"
	"fmt"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/trail"
)

// Covered returns what the trail in a Loki says of the window that begins at start: the last
// word, or else the one that knows of the most records; false if it says nothing.
func Covered(ctx context.Context, loki *trail.Client, cluster string, start int64) (c flowlog.Coverage, ok bool, err error) {
	for e, err := range loki.Entries(ctx, trail.Selector(flowlog.StreamCoverage, cluster), time.Unix(start, 0), time.Unix(start+1, 0)) {
		if err != nil {
			return c, false, err
		}
		if flowlog.IsGap(e.Line) {
			continue
		}
		said, err := flowlog.ParseCoverage(e.Line)
		if err != nil {
			return c, false, err
		}
		if !ok || said.Final || !c.Final && said.Records > c.Records {
			c, ok = said, true
		}
	}
	return c, ok, nil
}

// CheckRecords holds how many records of a window a store has against what the window's
// coverage says, and both against the flows that Goldmane serves. Goldmane may have taken in
// flows since.
func CheckRecords(c *flowlog.Coverage, flows []*goldmane.Flow, merged bool, records int) error {
	least, most, err := Records(flows, merged)
	if err != nil {
		return err
	}
	switch n := int64(records); {
	case n != c.Records:
		return fmt.Errorf("there are %d records, and %d by the window's coverage", n, c.Records)
	case int64(len(flows)) < c.Flows:
		return fmt.Errorf("Goldmane serves %d flows, and has served %d by the window's coverage", len(flows), c.Flows)
	case int64(len(flows)) > c.Flows:
		return nil // what it had then nobody can say
	case n < int64(least)-c.Withheld, n > int64(most)+c.Late:
		return fmt.Errorf("there are %d records (%d late, %d flows withheld), and Goldmane's %d flows make %d to %d", n, c.Late, c.Withheld, len(flows), least, most)
	}
	return nil
}
