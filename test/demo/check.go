package main

import (
	"context"
	"fmt"
	"time"

	"github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

// checked is a window whose records in Loki were held against Goldmane's flows.
type checked struct {
	start   int64
	flows   int // as Goldmane counts them, each side's report for itself
	want    int // how many records they make
	entries []trail.Entry
}

func (c *checked) String() string {
	return fmt.Sprintf("window %s: Loki holds %d records, Goldmane's %d flows make %d", clock(c.start), len(c.entries), c.flows, c.want)
}

// check reads a window from Loki until it holds as many records as Goldmane's flows of
// that window make, counted by stack.Records. Fewer or more is an error when ctx ends.
//
// A real Goldmane may take in flows later than the receiver reads, for minutes; then a
// difference that lasts for straggling is returned as it is.
func (d *demo) check(ctx context.Context, start int64) (*checked, error) {
	var last *checked
	var since time.Time // of the first records
	for {
		c, err := d.compare(ctx, start)
		switch {
		case err != nil && (last == nil || ctx.Err() == nil):
			return nil, err
		case err == nil && len(c.entries) == c.want:
			return c, nil
		case err == nil:
			last = c
		}
		if len(last.entries) > 0 && since.IsZero() {
			since = time.Now()
		}
		if d.options.goldmane != "" && !since.IsZero() && time.Since(since) > straggling {
			return last, nil
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%w: %s", context.Cause(ctx), last)
		}
	}
}

// compare reads a window from both ends.
func (d *demo) compare(ctx context.Context, start int64) (*checked, error) {
	end := start + int64(window/time.Second)
	flows, err := d.goldmane.Window(ctx, start, end)
	if err != nil {
		return nil, err
	}
	c := &checked{start: start, flows: len(flows)}
	if c.want, err = stack.Records(flows, true); err != nil {
		return nil, err
	}
	c.entries, err = d.read(ctx, start, end)
	return c, err
}

// straggling is how long records of a window may be on their way, one behind the other.
const straggling = 3 * time.Second

// read returns the records in [start, end), seconds since the epoch.
func (d *demo) read(ctx context.Context, start, end int64) ([]trail.Entry, error) {
	var entries []trail.Entry
	for e, err := range d.loki.Entries(ctx, trail.Flows(d.cluster), time.Unix(start, 0), time.Unix(end, 0)) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}
