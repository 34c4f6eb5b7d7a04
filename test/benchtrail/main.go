// Command benchtrail measures how fast the goldtrail command answers: `make bench-trail`.
//
// It fills a real Loki with 90 days of rollups, coverage records of the same time and a day
// of flow records, asks the questions that people wait for, and prints how long each
// takes, beside what a plain LogQL query takes for the same.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/test/stack"
)

type options struct {
	url, cluster                       string
	days, hours, edges, perSecond, run int
	keep                               bool
}

func main() {
	var o options
	flag.StringVar(&o.url, "url", "", "a Loki that is there, which must take old records; one of its own if empty")
	flag.StringVar(&o.cluster, "cluster", "bench", "name of the cluster")
	flag.IntVar(&o.days, "days", 90, "days of rollups and coverage")
	flag.IntVar(&o.hours, "hours", 24, "hours of flow records, until now")
	flag.IntVar(&o.edges, "edges", 700, "edges")
	flag.IntVar(&o.perSecond, "flows", 65, "flow records a second")
	flag.IntVar(&o.run, "runs", 3, "how often each question is asked; all times are shown")
	flag.BoolVar(&o.keep, "loaded", false, "the Loki at -url has the data already")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchtrail:", err)
		os.Exit(1)
	}
}

// lokiArgs let Loki take old records as fast as they come.
var lokiArgs = []string{
	"-validation.reject-old-samples=false",
	"-distributor.ingestion-rate-limit-mb=1000", "-distributor.ingestion-burst-size-mb=1000",
	"-ingester.per-stream-rate-limit=1GB", "-ingester.per-stream-rate-limit-burst=1GB",
}

// run keeps everything in a folder that is gone when it returns.
func run(ctx context.Context, o *options) (err error) {
	if o.url == "" {
		dir, err := os.MkdirTemp("", "goldtrail-benchtrail-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		s := stack.New(dir)
		defer func() { err = errors.Join(err, s.Stop()) }()
		if o.url, _, err = s.OwnLoki(ctx, stack.LokiOptions{Dir: filepath.Join(dir, "loki"), Args: lokiArgs}); err != nil {
			return err
		}
	}
	if !o.keep {
		if err := load(ctx, o); err != nil {
			return err
		}
	}
	return ask(ctx, o)
}

// load fills Loki up to the last full minute, as it is when questions take longest: there
// is no rollup of what ended less than an hour and delay ago, but for the quarters, of
// which none is there that ended less than a quarter and delay ago.
func load(ctx context.Context, o *options) error {
	const (
		quarter, hour, day = 900, 3600, 86400
		// delay is how long after an interval's end its rollups come: the last window of it is
		// listed for the last time six minutes after its start.
		delay = 360
	)
	now := time.Now().Unix() / 60 * 60
	until := func(length, least int64) int64 { return (now - delay - least) / length * length }
	edges := edgesOf(o.edges, 7)
	from := now/day*day - int64(o.days)*day
	for _, stream := range []struct {
		name string
		load func(l *loader) error
	}{
		{flowlog.StreamEdgesDaily, func(l *loader) error { return loadRollups(ctx, l, edges, from, until(day, hour), day) }},
		{flowlog.StreamEdges, func(l *loader) error { return loadRollups(ctx, l, edges, from, until(hour, hour), hour) }},
		{flowlog.StreamEdgesQuarters, func(l *loader) error {
			return loadRollups(ctx, l, edges, (now-int64(o.hours)*hour)/quarter*quarter, until(quarter, quarter), quarter)
		}},
		{flowlog.StreamCoverage, func(l *loader) error { return loadCoverage(ctx, l, from, now) }},
		{flowlog.StreamFlows, func(l *loader) error {
			return loadFlows(ctx, l, edges, now-int64(o.hours)*hour, now, o.perSecond)
		}},
	} {
		begin := time.Now()
		l := newLoader(o.url, o.cluster, stream.name)
		if err := stream.load(l); err != nil {
			return fmt.Errorf("load %s: %w", stream.name, err)
		}
		fmt.Printf("%-22s %9d records in %.0f s\n", stream.name, l.sent, time.Since(begin).Seconds())
	}
	return flush(ctx, o.url)
}
