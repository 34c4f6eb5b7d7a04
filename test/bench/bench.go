package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/trail"
	"github.com/goldtrail/goldtrail/test/stack"
)

type options struct {
	only   string
	runs   int
	config string
}

const (
	// history is how many windows Goldmane has at the start, all that its ring holds.
	history = 238
	// asked is how many windows the questions are about: those of the history that its
	// ring still holds when the last layout is loaded.
	asked  = 200
	window = 15 * time.Second
	// The receiver reads what Goldmane has within seconds; a busy machine gets minutes.
	patience = 5 * time.Minute
)

// lokiArgs change what a load of an hour within seconds runs into, and an hour of
// traffic does not: rate limits, and streams split because of their rate. And what is in
// memory is flushed at the end.
var lokiArgs = []string{
	"-distributor.ingestion-rate-limit-mb=1000", "-distributor.ingestion-burst-size-mb=1000",
	"-ingester.per-stream-rate-limit=1GB", "-ingester.per-stream-rate-limit-burst=1GB",
	"-shard-streams.enabled=false",
	"-ingester.flush-on-shutdown=true",
}

type bench struct {
	*options
	dir   string
	stack *stack.Stack

	goldmane string    // address
	flows    int       // that Goldmane has in the windows asked about
	from, to time.Time // what the questions are about
}

// result is one row of the table.
type result struct {
	layout          *layout
	encoding        string
	asker           asker
	records         int
	stored          int64 // bytes
	loki, collector time.Duration
	questions       [questionCount]time.Duration
	answers         [questionCount]int // what tells them apart: see asker
}

func (r *result) String() string { return r.layout.name + ", " + r.encoding }

func (b *bench) run(ctx context.Context) error {
	started := time.Now()
	progress("starting Goldmane's simulator with %d windows", history)
	var err error
	if b.goldmane, _, err = b.stack.Simulator(ctx, stack.SimulatorOptions{History: history}); err != nil {
		return err
	}
	first := started.Truncate(window).Add(-asked * window)
	// The newest windows have not settled.
	b.from, b.to = first.Add(-4*window), first.Add((asked-4)*window)
	if err := b.describe(ctx); err != nil {
		return err
	}
	var results []*result
	for _, encoding := range encodings {
		for i := range layouts {
			l := &layouts[i]
			if !strings.Contains(l.name, b.only) || l.variant && encoding != encodings[0] {
				continue
			}
			r := &result{layout: l, encoding: encoding}
			if err := b.load(ctx, r); err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			results = append(results, r)
		}
	}
	for i := range questionNames {
		progress("asking for %s", questionNames[i])
		if err := b.ask(ctx, i, results); err != nil {
			return err
		}
	}
	progress("done in %s", time.Since(started).Round(time.Second))
	if err := sameAnswers(results); err != nil {
		return err
	}
	return table(os.Stdout, results)
}

// describe says what is measured.
func (b *bench) describe(ctx context.Context) error {
	g, err := stack.Dial(b.goldmane, stack.TLSFiles{}, "")
	if err != nil {
		return err
	}
	for at := b.from; at.Before(b.to); at = at.Add(window) {
		list, err := g.Window(ctx, at.Unix(), at.Add(window).Unix())
		if err != nil {
			return errors.Join(err, g.Close())
		}
		b.flows += len(list)
	}
	fmt.Printf("%d windows of %d flows on average, seed 1\n", asked, b.flows/asked)
	return g.Close()
}

// load fills a Loki with what Goldmane has, measures what that took, and starts the Loki
// anew, so that nothing is answered from an ingester's memory.
func (b *bench) load(ctx context.Context, r *result) error {
	progress("%s: loading", r)
	dir, err := os.MkdirTemp(b.dir, "loki-")
	if err != nil {
		return err
	}
	o := stack.LokiOptions{Dir: dir, Args: append(slices.Clone(lokiArgs), "-ingester.chunk-encoding="+r.encoding), Limits: r.layout.limits}
	url, loki, err := b.stack.OwnLoki(ctx, o)
	if err != nil {
		return err
	}
	c, err := b.stack.Collector(ctx, stack.CollectorOptions{
		Config: b.config, Set: r.layout.set,
		Env: map[string]string{"GOLDMANE_ENDPOINT": b.goldmane, "LOKI_URL": url, "K8S_CLUSTER_NAME": "bench"},
	})
	if err != nil {
		return err
	}
	if err := b.awaitLast(ctx, url, c); err != nil {
		return err
	}
	if err := c.Stop(); err != nil {
		return err
	}
	if err := loki.Stop(); err != nil { // it writes its chunks
		return err
	}
	r.collector, r.loki = c.CPU(), loki.CPU()
	if r.stored, err = chunkBytes(filepath.Join(dir, "chunks")); err != nil {
		return err
	}
	if url, _, err = b.stack.OwnLoki(ctx, o); err != nil {
		return err
	}
	r.asker = asker{url: url, from: b.from, to: b.to}
	all := asker{url: url, to: b.to.Add(time.Hour)} // what was stored in the meantime as well
	if r.records, err = all.ask(ctx, "sum(count_over_time("+trail.Flows("bench")+"[3h]))"); err != nil {
		return err
	}
	inRange, err := r.asker.ask(ctx, "sum(count_over_time(SEL [RANGE]))")
	progress("%s: %d records, %.1f B each; the %d flows of the %d windows are %d", r, r.records, float64(r.stored)/float64(r.records), b.flows, asked, inRange)
	return err
}

// awaitLast waits until the last window that is asked about has arrived, which its
// coverage record tells: windows are read in order, and exported in order.
func (b *bench) awaitLast(ctx context.Context, url string, c *stack.Collector) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	loki := trail.Client{URL: url}
	coverage := strings.Replace(trail.Flows("bench"), flowlog.StreamFlows, flowlog.StreamCoverage, 1)
	for {
		for _, err := range loki.Entries(ctx, coverage, b.to.Add(-window), b.to) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the window %s: %w; %s", b.to.Add(-window).Format(time.TimeOnly), ctx.Err(), c.Tail())
		case <-tick.C:
		}
	}
}

// chunkBytes is the size of the chunk files of the flows' streams, as Loki's filesystem
// store keeps them: a folder a tenant, in it a folder a stream. The smallest stream is
// the coverage's, one record a window. Files of the index are not counted.
func chunkBytes(dir string) (int64, error) {
	sizes := map[string]int64{}
	err := filepath.WalkDir(filepath.Join(dir, "fake"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sizes[filepath.Dir(path)] += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if len(sizes) < 2 {
		return 0, fmt.Errorf("chunks of %d streams in %s: the flows' and the coverage's should be there", len(sizes), dir)
	}
	bySize := slices.Sorted(maps.Values(sizes))
	total := int64(0)
	for _, size := range bySize[1:] {
		total += size
	}
	return total, nil
}

// ask asks all Lokis one question, first once to open what Loki opens once, then runs
// times. They take turns, so that what else the machine does is spread over all.
func (b *bench) ask(ctx context.Context, question int, results []*result) error {
	times := make([][]time.Duration, len(results))
	for n := range b.runs + 1 {
		for i, r := range results {
			begin := time.Now()
			answer, err := r.asker.ask(ctx, r.layout.questions[question])
			if err != nil {
				return fmt.Errorf("%s: %w", r, err)
			}
			if n > 0 {
				times[i] = append(times[i], time.Since(begin))
			}
			r.answers[question] = answer
		}
	}
	for i, r := range results {
		slices.Sort(times[i])
		r.questions[question] = times[i][len(times[i])/2]
	}
	return nil
}

// sameAnswers fails if two layouts answer a question differently.
func sameAnswers(results []*result) error {
	for _, r := range results {
		if r.answers != results[0].answers {
			return fmt.Errorf("%s: the answers are %v, and %v for %s: one of them asks for something else",
				r, r.answers, results[0].answers, results[0])
		}
	}
	return nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}
