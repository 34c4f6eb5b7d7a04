// Command bench measures what the trail's layout costs in Loki: `make bench-loki`.
//
// It reads the same hour of a simulated cluster with the built Collector into the real
// Loki, once for each layout and encoding of chunks, and prints one table: bytes
// stored a record, CPU time taken to ingest, time taken by five questions.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/goldtrail/goldtrail/test/stack"
)

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "measure the layouts whose name contains this")
	flag.IntVar(&o.runs, "runs", 5, "how often each question is asked; the median is shown")
	flag.StringVar(&o.config, "config", "examples/local.yaml", "the Collector's configuration")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run keeps everything in a folder that is gone when it returns.
func run(ctx context.Context, o *options) (err error) {
	dir, err := os.MkdirTemp("", "goldtrail-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	s := stack.New(dir)
	defer func() { err = errors.Join(err, s.Stop()) }()
	b := &bench{options: o, dir: dir, stack: s}
	return b.run(ctx)
}
