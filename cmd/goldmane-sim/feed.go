package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

// feeder pushes the cluster's traffic when it arrives.
type feeder struct {
	*options
	goldmane *sim.Goldmane
	traffic  *traffic.Traffic
	// begin is the first window's start, in seconds. What is stamped before is older than
	// this Goldmane pretends to be.
	begin   int64
	drawn   time.Time         // all that arrives before is drawn
	pending []traffic.Arrival // drawn and not yet pushed, in order of time
}

func newFeeder(o *options, g *sim.Goldmane, t *traffic.Traffic) *feeder {
	return &feeder{options: o, goldmane: g, traffic: t}
}

// preload pushes the history, all of it that has arrived by now, and keeps the rest for
// its time.
func (f *feeder) preload() {
	now := f.clock.Now()
	length := int64(f.window / time.Second)
	f.begin = now.Unix() - now.Unix()%length - int64(f.history)*length
	f.drawn = time.Unix(f.begin, 0)
	f.push(now)
}

// draw adds what arrives in the next so many windows.
func (f *feeder) draw(windows int64) {
	next := f.drawn.Add(time.Duration(windows) * f.window)
	arrivals := f.traffic.Arrivals(f.drawn, next)
	for _, a := range arrivals {
		if a.Flow.StartTime >= f.begin {
			f.pending = append(f.pending, a)
		}
	}
	if !f.quiet {
		fmt.Fprintf(f.log, "goldmane-sim: %s: %d flows to come in %s\n",
			f.drawn.UTC().Format(time.TimeOnly), len(arrivals), next.Sub(f.drawn))
	}
	f.drawn = next
}

// atOnce is how many windows of history are drawn together: drawing them one by one takes
// three times as long, and an hour is many flows.
const atOnce = 32

// push hands over what has arrived by t.
func (f *feeder) push(t time.Time) {
	for !f.drawn.After(t) {
		f.draw(min(int64(t.Sub(f.drawn)/f.window)+1, atOnce))
		f.deliver(t)
	}
	f.deliver(t)
}

func (f *feeder) deliver(t time.Time) {
	n := 0
	for n < len(f.pending) && !f.pending[n].At.After(t) {
		f.goldmane.Push(f.pending[n].Flow)
		n++
	}
	f.pending = slices.Delete(f.pending, 0, n)
}

// run pushes until ctx is done.
func (f *feeder) run(ctx context.Context) {
	for {
		// Flows come in batches, one a node and window, so waiting for each is enough.
		wake := f.drawn
		if len(f.pending) > 0 && f.pending[0].At.Before(wake) {
			wake = f.pending[0].At
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
