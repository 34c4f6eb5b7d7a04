package trail

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// Entries yields every entry of selector in [from, to), in the order of time, and each
// record once: Loki can hold an entry twice that was sent twice (the exporter repeats a
// push whose answer it has not seen), and a repeat has the same time and line.
//
// It ends after the first error.
func (c *Client) Entries(ctx context.Context, selector string, from, to time.Time) iter.Seq2[Entry, error] {
	limit := c.PageSize
	if limit <= 0 {
		limit = defaultPageSize
	}
	return func(yield func(Entry, error) bool) {
		var seen repeats
		for start := from; ; {
			page, err := c.queryRange(ctx, selector, start, to, limit)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if !seen.add(&e) && !yield(e, nil) {
					return
				}
			}
			if len(page) < limit {
				return
			}
			// The page may end amid the entries of one time: the next begins with all
			// of them, and those that were in this one are repeats.
			last := page[len(page)-1].Time
			if last.Equal(start) {
				yield(Entry{}, fmt.Errorf("query %s: more than %d entries at %s, and Loki gives no way to ask for the rest: raise max_entries_limit_per_query and the page size",
					selector, limit-1, last.UTC().Format(time.RFC3339Nano)))
				return
			}
			start = last
		}
	}
}

// repeats finds entries that were there before. Entries come in the order of time, so
// only those of the newest time need to be known.
type repeats struct {
	at    time.Time
	known map[[2]string]struct{} // stream and line
}

// add reports whether e is a repeat.
func (r *repeats) add(e *Entry) bool {
	if r.known == nil || !e.Time.Equal(r.at) {
		r.at = e.Time
		r.known = make(map[[2]string]struct{}, 1)
	}
	key := [2]string{streamKey(e.Stream), e.Line}
	_, repeat := r.known[key]
	r.known[key] = struct{}{}
	return repeat
}

func streamKey(labels map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "%q=%q,", name, labels[name])
	}
	return b.String()
}
