// Goldmane-sim serves a simulated Goldmane with a believable cluster's traffic, for the
// demo, for trying the receiver out and for building dashboards without a cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run is main with the exit status for a result.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "goldmane-sim:", err)
	if errors.As(err, new(crashError)) {
		return 2 // as the Go runtime does for the panic that this stands for
	}
	return 1
}
