package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/spf13/cobra"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/cluster"
)

// options are the command's flags.
type options struct {
	listen        string
	window        time.Duration
	seed          uint64
	history       int
	cert, key, ca string
	quiet         bool
	truthListen   string
	calm          bool
	from, until   int64

	clock clockwork.Clock
	log   io.Writer
}

// maxHistory is what the ring holds from a start on: its 240 windows of past, less one
// that the first rollovers may claim before all of it is in.
const maxHistory = 238

// crashError is the end of the process that a client brought about.
type crashError struct{ cause error }

func (e crashError) Error() string { return "ended as Goldmane would: " + e.cause.Error() }
func (e crashError) Unwrap() error { return e.cause }

func newCommand() *cobra.Command {
	o := options{clock: clockwork.NewRealClock()}
	cmd := &cobra.Command{
		Use:   "goldmane-sim",
		Short: "Serve a simulated Goldmane with a believable cluster's traffic",
		Long: `Serve a simulated Goldmane (Calico's flow aggregator) with a believable cluster's traffic.

It behaves as Goldmane 3.31 and later does, including what ends the process: exit
status 2 says that a client did that. Interrupt it to end it with status 0.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.log = cmd.ErrOrStderr()
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:7443", "address to serve on")
	f.DurationVar(&o.window, "window", 15*time.Second, "length of a window, whole seconds")
	f.Uint64Var(&o.seed, "seed", 1, "which cluster and which traffic; the same seed gives the same")
	f.IntVar(&o.history, "history", 20, "windows of past traffic to begin with, 238 at most")
	f.StringVar(&o.cert, "tls-cert", "", "server certificate, PEM; with --tls-key and --tls-ca, or none of them")
	f.StringVar(&o.key, "tls-key", "", "key of the server certificate, PEM")
	f.StringVar(&o.ca, "tls-ca", "", "CA of the clients' certificates, PEM; none is let in without one")
	f.StringVar(&o.truthListen, "truth-listen", "", "address to tell on, over HTTP, what was really sent: /truth?from=SECONDS&to=SECONDS")
	f.BoolVar(&o.calm, "calm", false, "no node is cut off, silent or slow")
	f.Int64Var(&o.from, "from", 0, "when traffic begins, seconds since 1970; 0 is long ago")
	f.Int64Var(&o.until, "until", 0, "when traffic ends, seconds since 1970; 0 is never")
	f.BoolVar(&o.quiet, "quiet", false, "do not log each window")
	return cmd
}

func (o *options) check() error {
	if o.window < time.Second || o.window%time.Second != 0 {
		return fmt.Errorf("'--window' is %s: must be whole seconds, 1s or more; Goldmane counts in seconds", o.window)
	}
	if o.history < 0 || o.history > maxHistory {
		return fmt.Errorf("'--history' is %d: must be 0 to %d; Goldmane's ring holds no more windows", o.history, maxHistory)
	}
	if o.from < 0 || o.until < 0 || o.until != 0 && o.until <= o.from {
		return fmt.Errorf("'--from' is %d and '--until' is %d: must be seconds since 1970, the second after the first, or 0", o.from, o.until)
	}
	given := 0
	for _, file := range []string{o.cert, o.key, o.ca} {
		if file != "" {
			given++
		}
	}
	if given != 0 && given != 3 {
		return errors.New("'--tls-cert', '--tls-key' and '--tls-ca' go together: give all three for mutual TLS, or none for plaintext")
	}
	return nil
}

func (o *options) cluster() *cluster.Cluster {
	c := cluster.Options{Calm: o.calm}
	if o.from != 0 {
		c.Begin = time.Unix(o.from, 0)
	}
	if o.until != 0 {
		c.End = time.Unix(o.until, 0)
	}
	return cluster.With(o.seed, c)
}

// run serves until ctx is done or a client has crashed the simulation.
func (o *options) run(ctx context.Context) (failed error) {
	if err := o.check(); err != nil {
		return err
	}
	var conf *tls.Config
	if o.cert != "" {
		var err error
		if conf, err = sim.MutualTLS(o.cert, o.key, o.ca); err != nil {
			return err
		}
	}
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("'--listen': %w", err)
	}
	crashed := make(chan error, 1)
	g := sim.New(sim.Options{Window: o.window, Clock: o.clock, OnCrash: func(err error) { crashed <- err }})
	defer g.Stop()

	flows := o.cluster().Traffic(o.window)
	feed := newFeeder(o, g, flows)
	feed.preload()
	if o.truthListen != "" {
		stop, err := o.serveTruth(ctx, flows)
		if err != nil {
			return errors.Join(err, lis.Close())
		}
		defer func() { failed = errors.Join(failed, stop()) }()
	}

	srv := sim.NewServer(g, conf)
	served := make(chan error, 1)
	go func() {
		served <- srv.Serve(lis)
		close(served)
	}()
	ctx, cancel := context.WithCancel(ctx)
	fed := make(chan struct{})
	go func() { defer close(fed); feed.run(ctx) }()
	fmt.Fprintln(o.log, "goldmane-sim: listening on", lis.Addr())

	select {
	case <-ctx.Done():
	case cause := <-crashed:
		err = crashError{cause}
	case err = <-served:
	}
	cancel()
	g.Stop() // before the server: its calls end with the simulation
	srv.Stop()
	<-fed
	return errors.Join(err, <-served) // nil after a Stop
}
