// Command demo shows goldtrail at work: `make demo`.
//
// It starts Loki, the Goldmane simulator and the Collector, waits until the simulated
// cluster's history has gone from one end to the other, holds the records in Loki
// against what Goldmane serves, and prints who talks to whom. Then it goes on, window
// by window, until it is interrupted.
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
	flag.BoolVar(&o.once, "once", false, "end after the first table")
	flag.StringVar(&o.goldmane, "goldmane", "", "host:port of a Goldmane to read instead of the simulator")
	flag.StringVar(&o.tls.Cert, "cert", "", "client certificate for it, PEM; with -key and -ca, or none of them for plaintext")
	flag.StringVar(&o.tls.Key, "key", "", "key of the client certificate, PEM")
	flag.StringVar(&o.tls.CA, "ca", "", "CA of Goldmane's certificate, PEM")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run keeps everything in a folder that is gone when it returns.
func run(ctx context.Context, o *options) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "goldtrail-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	s := stack.New(dir)
	defer func() { err = errors.Join(err, s.Stop()) }()
	d := &demo{options: o, stack: s}
	return d.run(ctx)
}
