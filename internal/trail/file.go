package trail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// File is a trail in a file that the Collector's file exporter wrote: a line of OTLP JSON
// for every batch. The first question reads all of it and remembers which lines have what;
// those after it read the lines that they need. What is written meanwhile is not seen.
// It is not safe for concurrent use.
type File struct {
	Path string
	// Progress, if not nil, is told how much of the file the first question has read.
	Progress func(what string, done, all int)

	known *fileIndex // nil before the first question
}

// ErrNotATrail is returned, wrapped, for a file that has no record of a trail.
var ErrNotATrail = errors.New("no record of a trail in it: it must be what the Collector's file exporter wrote, with `format: json` and without compression")

// Notes are what is odd about the file, for people.
func (f *File) Notes() []string {
	var notes []string
	if f.known == nil {
		return nil
	}
	if f.known.torn {
		notes = append(notes, f.Path+" ends amid a line, as after a crash or while it is written: that line is not read")
	}
	if n := f.known.unreadable; n > 0 {
		notes = append(notes, fmt.Sprintf("%s has %d lines that are no OTLP JSON: they are not read", f.Path, n))
	}
	if n := f.known.tooLong; n > 0 {
		notes = append(notes, fmt.Sprintf("%s has %d lines of more than %d MiB: they are not read", f.Path, n, longestLine>>20))
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
	x, err := f.index(ctx)
	if err != nil {
		return err
	}
	key := fileStream{q.Stream, q.Cluster}
	first := make([]earliest, len(q.Spans))
	for i := range x.sections[key] {
		s := &x.sections[key][i]
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wanted := false
		for n, span := range q.Spans {
			wanted = wanted || s.overlaps(span) && !first[n].enough(limit, s.first)
		}
		if !wanted {
			continue
		}
		logs, err := x.line(s)
		if err != nil {
			return err
		}
		err = eachEntry(logs, key, func(e *Entry) error {
			for n, span := range q.Spans {
				switch {
				case !span.holds(e.Time):
				case limit > 0:
					first[n].add(e, limit)
				default:
					return once(e)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
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

// enough reports whether what begins at a time cannot be among the first limit ones.
func (l earliest) enough(limit int, begin int64) bool {
	return limit > 0 && len(l) == limit && l[limit-1].Time.UnixNano() < begin
}

// entryKey tells the records of a cluster's stream apart.
type entryKey struct {
	nanos int64
	line  string
}

// index is what is known of the file; the first call reads it.
func (f *File) index(ctx context.Context) (*fileIndex, error) {
	if f.known != nil {
		return f.known, nil
	}
	x, err := readIndex(ctx, f.Path, f.Progress)
	if err == nil {
		f.known = x
	}
	return x, err
}

// Clusters implements Source.
func (f *File) Clusters(ctx context.Context, span Span) ([]string, error) {
	x, err := f.index(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]struct{}{}
	for key := range x.sections {
		if _, known := found[key.cluster]; known {
			continue
		}
		_, ok, err := f.Begin(ctx, key.cluster, span)
		if err != nil {
			return nil, err
		}
		if ok {
			found[key.cluster] = struct{}{}
		}
	}
	return sorted(found), nil
}

// Begin implements Source, to the nanosecond.
func (f *File) Begin(ctx context.Context, cluster string, span Span) (first time.Time, ok bool, err error) {
	for _, stream := range streams {
		q := &Question{Cluster: cluster, Stream: stream, Spans: []Span{span}, Limit: 1}
		err := f.Read(ctx, q, func(e *Entry) error {
			if !ok || e.Time.Before(first) {
				first, ok = e.Time, true
			}
			return nil
		})
		if err != nil {
			return first, false, err
		}
	}
	return first, ok, nil
}

// Span is from the first record of the file to the end of the last one's window.
func (f *File) Span(ctx context.Context) (Span, error) {
	x, err := f.index(ctx)
	if err != nil {
		return Span{}, err
	}
	if len(x.sections) == 0 {
		return Span{}, fmt.Errorf("%s: %w", f.Path, ErrNotATrail)
	}
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, sections := range x.sections {
		for i := range sections {
			first, last = min(first, sections[i].first), max(last, sections[i].last)
		}
	}
	to := time.Unix(0, last).UTC().Truncate(defaultWindow * time.Second).Add(defaultWindow * time.Second)
	return Span{time.Unix(0, first).UTC(), to}, nil
}

// eachEntry calls fn with the entries of a stream.
func eachEntry(logs plog.Logs, wanted fileStream, fn func(e *Entry) error) error {
	for _, resource := range logs.ResourceLogs().All() {
		if streamOf(resource) != wanted {
			continue
		}
		labels := map[string]string{}
		for key, value := range resource.Resource().Attributes().All() {
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
				if err := fn(&e); err != nil {
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
