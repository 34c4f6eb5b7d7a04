package trail

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// firstStretch is how much of a span one question asks for when nothing is known of
	// how dense it is. Loki itself takes a range apart by the hour.
	firstStretch = time.Hour
	// leastStretch is the shortest range that is taken apart further.
	leastStretch = 10 * time.Millisecond
	// slowHalvings is how often a range is halved because it takes Loki too long: a gateway
	// that gives up on everything would be asked thousands of times. The last part is asked
	// again while there is patience.
	slowHalvings = 5
	// fullPage is how full a page is meant to be, where the density is known.
	fullPage = 0.8
)

// Read implements Source. However many entries there are, and whatever Loki's limits:
// a range that has more than a page is taken apart by the density of its first page, and
// one that is too much for Loki is halved.
func (c *Client) Read(ctx context.Context, q *Question, fn func(*Entry) error) error {
	s := c.scan(Selector(q.Stream, q.Cluster)+q.Filter, fn)
	s.enough = q.Limit
	return s.read(ctx, q.Spans)
}

// Entries yields every entry of a selector in [from, to), in the order of time, and each
// record once. It ends after the first error.
func (c *Client) Entries(ctx context.Context, selector string, from, to time.Time) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var all []Entry
		s := c.scan(selector, func(e *Entry) error {
			all = append(all, *e)
			return nil
		})
		if err := s.read(ctx, []Span{{from, to}}); err != nil {
			yield(Entry{}, err)
			return
		}
		slices.SortStableFunc(all, func(a, b Entry) int { return a.Time.Compare(b.Time) })
		for i := range all {
			if !yield(all[i], nil) {
				return
			}
		}
	}
}

// scan is one Read.
type scan struct {
	client *Client
	query  string
	enough int          // entries of each span that will do, 0 for all
	limit  atomic.Int64 // the page size, which Loki may want smaller

	mu sync.Mutex // held while fn is called
	fn func(*Entry) error
}

func (c *Client) scan(query string, fn func(*Entry) error) *scan {
	s := &scan{client: c, query: query, fn: fn}
	s.limit.Store(defaultPageSize)
	if c.PageSize > 0 {
		s.limit.Store(int64(c.PageSize))
	}
	return s
}

func (s *scan) read(ctx context.Context, spans []Span) error {
	todo := spans
	if s.enough == 0 {
		todo = nil
		for _, span := range spans {
			todo = append(todo, span.aligned(firstStretch)...)
		}
	}
	for len(todo) > 0 {
		var err error
		if todo, err = s.round(ctx, todo); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) parallel() int {
	if c.Parallel > 0 {
		return c.Parallel
	}
	return defaultParallel
}

// round asks for each of the spans and returns what is left of them.
func (s *scan) round(ctx context.Context, spans []Span) ([]Span, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.client.parallel())
	left := make([][]Span, len(spans))
	for i := range spans {
		group.Go(func() (err error) {
			left[i], err = s.ask(ctx, spans[i], 0)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []Span
	for _, rest := range left {
		all = append(all, rest...)
	}
	return all, nil
}

// ask asks for one span, hands on what comes, and returns what is to be asked next. halved
// is how often the span was halved because it took too long.
func (s *scan) ask(ctx context.Context, span Span, halved int) ([]Span, error) {
	limit := int(s.limit.Load())
	if s.enough > 0 {
		limit = min(limit, s.enough)
	}
	page, full, err := s.client.page(ctx, s.query, span, limit, halved < slowHalvings)
	var refused *StatusError
	if errors.As(err, &refused) {
		switch tooMuch(refused) {
		case tooManyRows:
			if limit > 1 {
				s.limit.CompareAndSwap(int64(limit), int64(limit/2))
				return []Span{span}, nil
			}
		case tooLong:
			if span.length() > leastStretch {
				return span.halves(), nil
			}
		case tooSlow:
			if halved < slowHalvings {
				return s.askHalves(ctx, span, halved+1)
			}
		case enough:
		}
	}
	if err != nil {
		return nil, err
	}
	if s.enough > 0 || !full {
		return nil, s.hand(page)
	}

	// The page may end amid the entries of one time: they are all asked for once more.
	last := page[len(page)-1].Time
	n := len(page)
	for n > 0 && page[n-1].Time.Equal(last) {
		n--
	}
	if n == 0 {
		return nil, fmt.Errorf("%s: more than %d entries at %s, and Loki gives no way to ask for the rest: raise max_entries_limit_per_query and the page size",
			s.query, limit-1, last.UTC().Format(time.RFC3339Nano))
	}
	stretch := time.Duration(float64(last.Sub(page[0].Time)) * fullPage * float64(limit) / float64(n))
	return Span{last, span.To}.pieces(max(stretch, leastStretch)), s.hand(page[:n])
}

// askHalves asks for both halves, one after the other: if Loki can answer nothing, that is
// known before the other ranges of a round are halved as well.
func (s *scan) askHalves(ctx context.Context, span Span, halved int) ([]Span, error) {
	var left []Span
	for _, half := range span.halves() {
		rest, err := s.ask(ctx, half, halved)
		if err != nil {
			return nil, err
		}
		left = append(left, rest...)
	}
	return left, nil
}

// aligned takes a span apart at the multiples of a stretch.
func (s Span) aligned(stretch time.Duration) []Span {
	first := s.From.Truncate(stretch).Add(stretch)
	if !first.Before(s.To) {
		return []Span{s}
	}
	return append([]Span{{s.From, first}}, Span{first, s.To}.pieces(stretch)...)
}

func (s Span) halves() []Span {
	half := s.From.Add(s.length() / 2)
	return []Span{{s.From, half}, {half, s.To}}
}

// pieces takes a span apart.
func (s Span) pieces(stretch time.Duration) []Span {
	var list []Span
	for from := s.From; from.Before(s.To); from = from.Add(stretch) {
		to := from.Add(stretch)
		if to.After(s.To) {
			to = s.To
		}
		list = append(list, Span{from, to})
	}
	return list
}

func (s *scan) hand(page []Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range page {
		if err := s.fn(&page[i]); err != nil {
			return err
		}
	}
	return nil
}
