package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

// checked is a window whose records in Loki were held against its coverage, and against
// Goldmane's flows.
type checked struct {
	start    int64
	flows    int // as Goldmane counts them, each side's report for itself
	coverage flowlog.Coverage
	entries  []trail.Entry
}

func (c *checked) String() string {
	return fmt.Sprintf("window %s: Goldmane's %d flows are %d records", clock(c.start), c.flows, len(c.entries))
}

// errNotThere is why a window cannot be checked yet.
var errNotThere = errors.New("no coverage record of it is in Loki")

// check reads a window from Loki until it holds as many records as the window's coverage
// says, and as Goldmane's flows can make. A difference is an error when ctx ends.
func (d *demo) check(ctx context.Context, start int64) (*checked, error) {
	var last error
	for {
		c, err := d.compare(ctx, start)
		if err == nil {
			return c, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%w: window %s: %w", context.Cause(ctx), clock(start), last)
		}
	}
}

// compare reads a window from both ends. One without flows needs no coverage: it may be
// older than the trail.
func (d *demo) compare(ctx context.Context, start int64) (*checked, error) {
	end := start + int64(window/time.Second)
	flows, err := d.goldmane.Window(ctx, start, end)
	if err != nil {
		return nil, err
	}
	c := &checked{start: start, flows: len(flows)}
	var there bool
	if c.coverage, there, err = stack.Covered(ctx, d.loki, d.cluster, start); err != nil {
		return nil, err
	}
	if c.entries, err = d.read(ctx, start, end); err != nil {
		return nil, err
	}
	switch {
	case there:
		return c, stack.CheckRecords(&c.coverage, flows, true, len(c.entries))
	case len(flows)+len(c.entries) > 0:
		return nil, errNotThere
	}
	return c, nil
}

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
