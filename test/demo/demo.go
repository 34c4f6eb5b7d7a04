package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

const (
	// window and settleDelay are the defaults of Goldmane and of the receiver: the demo
	// is as fast as the real thing. A window is decided when so many after it have settled,
	// and can be when as many before it are there.
	window      = 15 * time.Second
	settleDelay = 45 * time.Second
	reach       = 2
	// shown is how many past windows are shown, and history how many the simulator brings
	// along: those that are still to settle, and twice the reach, besides.
	shown   = 17
	history = int(settleDelay/window) + reach + shown + 2*reach
	// patience is how long the history may take to reach Loki. It takes about two
	// seconds; a real Goldmane's ring of an hour comes before it.
	patience = 2 * time.Minute
	// goldmaneName is a name in Goldmane's certificate.
	goldmaneName = "goldmane.calico-system.svc"

	config = "examples/local.yaml"
)

type options struct {
	once     bool
	goldmane string
	tls      stack.TLSFiles
}

func (o *options) check() error {
	given := 0
	for _, file := range []string{o.tls.Cert, o.tls.Key, o.tls.CA} {
		if file != "" {
			given++
		}
	}
	if given != 0 && given != 3 {
		return errors.New("GOLDMANE_CERT, GOLDMANE_KEY and GOLDMANE_CA go together: give all three for mutual TLS, or none for plaintext")
	}
	if o.goldmane == "" && given != 0 {
		return errors.New("GOLDMANE_CERT, GOLDMANE_KEY and GOLDMANE_CA are for a Goldmane of yours: name it, GOLDMANE=host:port")
	}
	return nil
}

// serverName is the name that Goldmane's certificate must have. Through a port-forward
// the address is loopback, which no certificate of Goldmane names.
func (o *options) serverName() string {
	host, _, err := net.SplitHostPort(o.goldmane)
	if err == nil && (host == "localhost" || net.ParseIP(host) != nil) {
		return goldmaneName
	}
	return ""
}

type demo struct {
	*options
	stack     *stack.Stack
	goldmane  *stack.Goldmane
	simulator *stack.Process // nil where Goldmane is not simulated
	collector *stack.Collector
	loki      *trail.Client
	cluster   string // k8s.cluster.name: one Loki may hold the records of many demos
}

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case p := <-d.stack.Died():
			cancel(fmt.Errorf("the demo cannot go on: %w", p.ExitError(context.WithoutCancel(ctx))))
		case <-ctx.Done():
		}
	}()

	if err := d.start(ctx); err != nil {
		return why(ctx, err)
	}
	defer func() { _ = d.goldmane.Close() }()
	newest, err := d.first(ctx)
	if err != nil {
		return d.missing(ctx, err)
	}
	if d.once {
		return nil
	}
	d.next()
	err = d.follow(ctx, newest)
	if errors.Is(context.Cause(ctx), context.Canceled) {
		say("\nstopped")
		return nil // that is how it ends
	}
	return d.missing(ctx, err)
}

// missing returns why records did not arrive: a process died, or what the Collector
// says.
func (d *demo) missing(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("%w; the Collector may know why, %s", err, d.collector.Tail())
}

// why returns what ended ctx, if a process that died did, and err otherwise.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// start starts all parts, each when the one that it needs is ready.
func (d *demo) start(ctx context.Context) error {
	begin := time.Now()
	url, err := d.stack.Loki(ctx)
	if err != nil {
		return err
	}
	say("Loki is ready at %s", url)
	d.loki = &trail.Client{URL: url}

	addr := d.options.goldmane
	var set []string
	switch {
	case addr == "":
		// Calm, so that the table can be held against what was sent, and looks the same
		// whenever the demo runs.
		if addr, d.simulator, err = d.stack.Simulator(ctx, stack.SimulatorOptions{Window: window, History: history, Calm: true}); err != nil {
			return err
		}
		say("Goldmane is simulated at %s: some hundred workloads, %d windows of %s behind them, live from here on", addr, history, window)
	case d.tls == (stack.TLSFiles{}):
		say("Goldmane is %s, in plaintext: no GOLDMANE_CERT, GOLDMANE_KEY and GOLDMANE_CA were given", addr)
	default:
		say("Goldmane is %s, over mutual TLS", addr)
		set = []string{
			"receivers.goldmane.tls.insecure=false",
			"receivers.goldmane.tls.cert_file=" + d.tls.Cert,
			"receivers.goldmane.tls.key_file=" + d.tls.Key,
			"receivers.goldmane.tls.ca_file=" + d.tls.CA,
		}
		if name := d.serverName(); name != "" {
			say("its certificate must be for %s, since the address is no name", name)
			set = append(set, "receivers.goldmane.tls.server_name_override="+name)
		}
	}
	if d.goldmane, err = stack.Dial(addr, d.tls, d.serverName()); err != nil {
		return err
	}

	d.cluster = fmt.Sprintf("demo-%d", begin.Unix())
	if d.collector, err = d.stack.Collector(ctx, stack.CollectorOptions{
		Config: config,
		Set:    set,
		Env:    map[string]string{"GOLDMANE_ENDPOINT": addr, "LOKI_URL": url, "K8S_CLUSTER_NAME": d.cluster},
	}); err != nil {
		return err
	}
	say("otelcol-goldtrail runs %s; all is up after %.1f s", config, time.Since(begin).Seconds())
	return nil
}

// first waits for the history and prints the table. It returns the start of the newest
// window in it.
func (d *demo) first(ctx context.Context) (int64, error) {
	begin := time.Now()
	newest := newestDecided(begin)
	oldest := newest - int64((shown-1)*window/time.Second)
	waitCtx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all was in Loki after %s", patience))
	defer cancel()

	if _, err := d.check(waitCtx, newest); err != nil {
		return 0, err
	}
	say("decided windows reached Loki after %.1f s", time.Since(begin).Seconds())
	seconds := int64(window / time.Second)
	var all counted
	for start := oldest; start <= newest; start += seconds {
		checked, err := d.check(waitCtx, start)
		if err != nil {
			return 0, err
		}
		if checked.flows == 0 {
			continue // before the simulation, or a quiet time
		}
		all.add(checked)
	}
	if all.windows == 0 {
		return 0, fmt.Errorf("no flows between %s and %s: Goldmane is empty", clock(oldest), clock(newest))
	}
	return newest, d.print(ctx, &all)
}

// follow prints a line for each window that is decided, until ctx ends. It never returns nil.
func (d *demo) follow(ctx context.Context, newest int64) error {
	seconds := int64(window / time.Second)
	for {
		newest += seconds
		if err := wait(ctx, time.Until(decided(newest))); err != nil {
			return err
		}
		checkCtx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not all was in Loki after %s", patience))
		checked, err := d.check(checkCtx, newest)
		cancel()
		if err != nil {
			return err
		}
		n, err := edges(checked.entries)
		if err != nil {
			return err
		}
		say("%s  %s; %d edges", time.Now().Format(time.TimeOnly), checked, n)
	}
}

// next says what to try.
func (d *demo) next() {
	say(`
What to try next, while this runs on:

  export LOKI_ADDR=%[1]s GOLDTRAIL_CLUSTER=%[2]s
  build/goldtrail peers monitoring/grafana --since 10m
  build/goldtrail flows --follow --denied
  build/goldtrail edges --external --since 10m --output mermaid
  build/goldtrail coverage --since 10m
  logcli --addr=%[1]s query '%[3]s'

More questions, with answers, are in docs/queries.md; Grafana's dashboards are in deploy/dashboards.

Ctrl-C ends it and removes everything.
`, d.loki.URL, d.cluster, trail.Flows(d.cluster))
}

// decided is when the receiver knows enough of the window that begins at start.
func decided(start int64) time.Time {
	return time.Unix(start, 0).Add(reach*window + settleDelay)
}

// newestDecided is the start of the newest window that can be in Loki by now.
func newestDecided(now time.Time) int64 {
	return now.Add(-reach*window - settleDelay).Truncate(window).Unix()
}

// clock is a window's start as people write times, on this machine's clock.
func clock(start int64) string { return time.Unix(start, 0).Format(time.TimeOnly) }

// say writes a line of progress to standard error; standard output is for the table.
func say(format string, args ...any) {
	fmt.Fprintln(os.Stderr, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
}

// wait returns nil after d, or the error of ctx if that ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
