package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// asked collects what Loki was asked, for --explain.
type asked struct {
	mu    sync.Mutex // guards order and by
	order []*askedQuery
	by    map[string]*askedQuery
}

// askedQuery is one query, and how often and between what times it was asked.
type askedQuery struct {
	what       string
	times      int
	start, end int64
}

func (a *asked) note(path string, parameters url.Values) {
	query := parameters.Get("query")
	if query == "" {
		query = parameters.Get("match[]")
	}
	what := path + "  " + query
	start, _ := strconv.ParseInt(parameters.Get("start"), 10, 64)
	end, _ := strconv.ParseInt(parameters.Get("end"), 10, 64)
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.by[what]
	if q == nil {
		if a.by == nil {
			a.by = map[string]*askedQuery{}
		}
		q = &askedQuery{what: what, start: start, end: end}
		a.by[what] = q
		a.order = append(a.order, q)
	}
	q.times++
	q.start, q.end = min(q.start, start), max(q.end, end)
}

func (a *asked) print(w io.Writer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.order {
		ranges := "in one range"
		if q.times > 1 {
			ranges = fmt.Sprintf("in %d ranges", q.times)
		}
		fmt.Fprintf(w, "asked %s\n      %s between %s and %s\n", q.what, ranges, utc(q.start), utc(q.end))
	}
}

func utc(nanos int64) string { return time.Unix(0, nanos).UTC().Format(time.RFC3339) }
