// Command goldtrail answers questions from the trail: who talks to whom, since when, and
// how complete the answer is. docs/goldtrail.md is its manual.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newEnvironment(), os.Args[1:])
	stop()
	os.Exit(code)
}
