package trail

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// File is a trail in a file that the Collector's file exporter wrote: a line of OTLP JSON
// for every batch. It is read anew for every question, so that its size matters little.
// It is not safe for concurrent use.
type File struct {
	Path string

	unreadable int  // lines of the last reading that are no OTLP JSON
	torn       bool // so is the last line, which has no end
}

// ErrNotATrail is returned, wrapped, for a file that has no record of a trail.
var ErrNotATrail = errors.New("no record of a trail in it: it must be what the Collector's file exporter wrote, with `format: json` and without compression")

// Notes are what is odd about the file, for people.
func (f *File) Notes() []string {
	var notes []string
	if f.torn {
		notes = append(notes, f.Path+" ends amid a line, as after a crash or while it is written: that line is not read")
	}
	if f.unreadable > 0 {
		notes = append(notes, fmt.Sprintf("%s has %d lines that are no OTLP JSON: they are not read", f.Path, f.unreadable))
	}
	return notes
}

// Read implements Source. The question's Filter is not applied, and then neither is its
// Limit: the first entries need not be those that the filter wants.
func (f *File) Read(ctx context.Context, q *Question, fn func(*Entry) error) error {
	seen := make(map[entryKey]struct{})
	once := func(e *Entry) error {
		key := entryKey{e.Time.UnixNano(), e.Line}
		if _, repeat := seen[key]; repeat {
			return nil
		}
		seen[key] = struct{}{}
		return fn(e)
	}
	limit := q.Limit
	if q.Filter != "" {
		limit = 0
	}
	first := make([]earliest, len(q.Spans))
	err := f.each(ctx, []string{q.Stream}, func(stream string, e *Entry) error {
		if stream != q.Stream || e.Stream[clusterLabel] != q.Cluster {
			return nil
		}
		for i, span := range q.Spans {
			switch {
			case !span.holds(e.Time):
			case limit > 0:
				first[i].add(e, limit)
			default:
				return once(e)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, entries := range first {
		for i := range entries {
			if err := once(&entries[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// earliest are the first entries of a span, in the order of time: a file has them in any,
// where several were joined.
type earliest []Entry

// add keeps an entry if it is one of the first limit ones, and no repeat.
func (l *earliest) add(e *Entry, limit int) {
	at, _ := slices.BinarySearchFunc(*l, e, func(known Entry, e *Entry) int {
		return cmp.Or(known.Time.Compare(e.Time), cmp.Compare(known.Line, e.Line))
	})
	if at == limit || at < len(*l) && (*l)[at].Time.Equal(e.Time) && (*l)[at].Line == e.Line {
		return
	}
	*l = slices.Insert(*l, at, *e)
	*l = (*l)[:min(len(*l), limit)]
}

// entryKey tells the records of a cluster's stream apart.
type entryKey struct {
	nanos int64
	line  string
}

// Clusters implements Source.
func (f *File) Clusters(ctx context.Context, span Span) ([]string, error) {
	found := map[string]struct{}{}
	err := f.each(ctx, streams, func(_ string, e *Entry) error {
		if span.holds(e.Time) {
			found[e.Stream[clusterLabel]] = struct{}{}
		}
		return nil
	})
	return sorted(found), err
}

// Begin implements Source.
func (f *File) Begin(ctx context.Context, cluster string, span Span) (first time.Time, ok bool, err error) {
	err = f.each(ctx, streams, func(_ string, e *Entry) error {
		if e.Stream[clusterLabel] == cluster && span.holds(e.Time) && (!ok || e.Time.Before(first)) {
			first, ok = e.Time, true
		}
		return nil
	})
	return first, ok, err
}

// Span is from the first record of the file to the end of the last one's window.
func (f *File) Span(ctx context.Context) (Span, error) {
	var s Span
	err := f.each(ctx, streams, func(_ string, e *Entry) error {
		if s.From.IsZero() || e.Time.Before(s.From) {
			s.From = e.Time
		}
		if e.Time.After(s.To) {
			s.To = e.Time
		}
		return nil
	})
	if err == nil && s.From.IsZero() {
		err = fmt.Errorf("%s: %w", f.Path, ErrNotATrail)
	}
	s.To = s.To.Truncate(defaultWindow * time.Second).Add(defaultWindow * time.Second)
	return s, err
}

// each calls fn with every entry of the streams.
func (f *File) each(ctx context.Context, wanted []string, fn func(stream string, e *Entry) error) error {
	file, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	f.unreadable, f.torn = 0, false
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		last := err != nil
		if line = bytes.TrimSpace(line); len(line) > 0 {
			switch logs, ok := readBatch(line, wanted); {
			case ok:
				if err := eachEntry(logs, wanted, fn); err != nil {
					return err
				}
			case last:
				f.torn = true
			default:
				f.unreadable++
			}
		}
		if last {
			return nil
		}
	}
}

// readBatch reads a line. A line without any of the streams is empty: taking it apart is
// what costs.
func readBatch(line []byte, wanted []string) (plog.Logs, bool) {
	if line[0] == '{' && line[len(line)-1] == '}' && !slices.ContainsFunc(wanted, func(s string) bool { return bytes.Contains(line, []byte(`"`+s+`"`)) }) {
		return plog.NewLogs(), true
	}
	logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
	return logs, err == nil
}

func eachEntry(logs plog.Logs, wanted []string, fn func(stream string, e *Entry) error) error {
	for _, resource := range logs.ResourceLogs().All() {
		attributes := resource.Resource().Attributes()
		name, _ := attributes.Get(flowlog.ServiceName)
		stream := name.AsString()
		if !slices.Contains(wanted, stream) {
			continue
		}
		labels := map[string]string{}
		for key, value := range attributes.All() {
			labels[Label(key)] = value.AsString()
		}
		for _, scope := range resource.ScopeLogs().All() {
			for _, lr := range scope.LogRecords().All() {
				e := Entry{Time: lr.Timestamp().AsTime(), Stream: labels, Line: lr.Body().AsString(), Metadata: make(map[string]string, 8)}
				for key, value := range lr.Attributes().All() {
					if slices.Contains(read, key) {
						e.Metadata[Label(key)] = value.AsString()
					}
				}
				if err := fn(stream, &e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// read are the attributes that are read; the line has the rest.
var read = []string{
	flowlog.SourceIdentity, flowlog.DestinationIdentity, flowlog.FlowService,
	flowlog.PolicyEgress, flowlog.PolicyIngress, flowlog.PolicyEgressPending, flowlog.PolicyIngressPending,
}
