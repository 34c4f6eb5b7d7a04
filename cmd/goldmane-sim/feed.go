package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
)

// feeder pushes the cluster's traffic when it would arrive.
type feeder struct {
	*options
	goldmane *sim.Goldmane
	cluster  *cluster.Cluster
	next     int64 // start of the next window to draw
	pending  []due // drawn and not yet pushed, in order of time
}

type due struct {
	at      time.Time
	arrival cluster.Arrival
}

func newFeeder(o *options, g *sim.Goldmane, c *cluster.Cluster) *feeder {
	return &feeder{options: o, goldmane: g, cluster: c}
}

// preload pushes the history, all of it that would have arrived by now, and keeps the
// rest for its time.
func (f *feeder) preload() {
	length := int64(f.window / time.Second)
	now := f.clock.Now()
	f.next = now.Unix() - now.Unix()%length - int64(f.history)*length
	f.push(now)
}

// draw adds the next window.
func (f *feeder) draw() {
	start := time.Unix(f.next, 0)
	arrivals := f.cluster.Window(f.next, f.window)
	for _, a := range arrivals {
		f.pending = append(f.pending, due{start.Add(a.After), a})
	}
	slices.SortStableFunc(f.pending, func(a, b due) int { return a.at.Compare(b.at) })
	f.next += int64(f.window / time.Second)
	if !f.quiet {
		fmt.Fprintf(f.log, "goldmane-sim: window %s: %d flows to come\n", start.UTC().Format(time.TimeOnly), len(arrivals))
	}
}

// push hands over what has arrived by t. It draws one window at a time: a long history
// is many flows.
func (f *feeder) push(t time.Time) {
	for f.next <= t.Unix() {
		f.draw()
		f.deliver(t)
	}
	f.deliver(t)
}

func (f *feeder) deliver(t time.Time) {
	n := 0
	for n < len(f.pending) && !f.pending[n].at.After(t) {
		f.goldmane.Push(f.pending[n].arrival.Flow)
		n++
	}
	f.pending = slices.Delete(f.pending, 0, n)
}

// run pushes until ctx is done.
func (f *feeder) run(ctx context.Context) {
	for {
		// Flows come in batches, one a node and window, so waiting for each is enough.
		wake := time.Unix(f.next, 0)
		if len(f.pending) > 0 && f.pending[0].at.Before(wake) {
			wake = f.pending[0].at
		}
		timer := f.clock.NewTimer(wake.Sub(f.clock.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.Chan():
			f.push(f.clock.Now())
		}
	}
}
