package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
)

const (
	// shownEdges and shownDenied are how many edges the tables show: a screenful, and the
	// denied ones apart, because they carry few bytes.
	shownEdges  = 25
	shownDenied = 8
)

// counted is what the checked windows have.
type counted struct {
	first, last             int64
	windows, flows, records int
	withheld                int64
	entries                 []trail.Entry
}

func (c *counted) add(w *checked) {
	if c.windows == 0 {
		c.first = w.start
	}
	c.last = w.start
	c.windows++
	c.flows += w.flows
	c.records += len(w.entries)
	c.withheld += w.coverage.Withheld
	c.entries = append(c.entries, w.entries...)
}

// print has the command tell who talked to whom in the checked windows, and then what was
// counted at both ends.
func (d *demo) print(ctx context.Context, c *counted) error {
	end := c.last + int64(window/time.Second)
	times := []string{"--from", utc(c.first), "--to", utc(end)}
	for _, verb := range [][]string{
		{"edges", "--limit", strconv.Itoa(shownEdges)},
		{"edges", "--denied", "--limit", strconv.Itoa(shownDenied)},
	} {
		if err := d.goldtrail(ctx, append(verb, times...)...); err != nil {
			return err
		}
	}
	fmt.Printf("\n%d windows from %s to %s: Goldmane's %d flows are %d records in Loki, as many as their coverage says\n",
		c.windows, clock(c.first), clock(c.last), c.flows, c.records)
	if d.simulator == nil {
		return nil // nobody knows what a real cluster sent
	}
	said, err := d.checkTruth(ctx, c)
	if err == nil {
		fmt.Println(said)
	}
	return err
}

// goldtrail runs the command, and shows how.
func (d *demo) goldtrail(ctx context.Context, args ...string) error {
	program := os.Getenv("GOLDTRAIL_BIN")
	if program == "" {
		return fmt.Errorf("GOLDTRAIL_BIN is not set: run this through make (`make demo`), which builds the program and names it")
	}
	fmt.Printf("\n$ goldtrail")
	for _, arg := range args {
		fmt.Printf(" %s", arg)
	}
	fmt.Print("\n\n")
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the Makefile names it
	cmd.Env = append(os.Environ(), "LOKI_ADDR="+d.loki.URL, "GOLDTRAIL_CLUSTER="+d.cluster)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("goldtrail %s: %w", args[0], err)
	}
	return nil
}

// edges is how many edges the records have.
func edges(entries []trail.Entry) (int, error) {
	known := map[flowlog.Edge]struct{}{}
	for i := range entries {
		flow, err := trail.ParseFlow(&entries[i])
		if err != nil {
			return 0, err
		}
		known[flow.Edge] = struct{}{}
	}
	return len(known), nil
}

func utc(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
