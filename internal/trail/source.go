package trail

import (
	"context"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// Source is where the trail's records are read from: a Loki, or a file.
type Source interface {
	// Read calls fn with the entries of a question, in no order, and from one goroutine at
	// a time. A Source may give entries that the question's Filter excludes. It may give an
	// entry twice only if it holds it under two times or two lines. An error of fn ends it.
	Read(ctx context.Context, q *Question, fn func(*Entry) error) error
	// Clusters are the names of the clusters that have records in the span, in order; ""
	// is the cluster of records that name none.
	Clusters(ctx context.Context, span Span) ([]string, error)
	// Begin is the time of the first record of the cluster in the span, to the day or
	// better, and never later than the record; false if there is none.
	Begin(ctx context.Context, cluster string, span Span) (time.Time, bool, error)
}

// Span is a time range, To not in it.
type Span struct{ From, To time.Time }

func (s Span) length() time.Duration { return s.To.Sub(s.From) }

func (s Span) holds(t time.Time) bool { return !t.Before(s.From) && t.Before(s.To) }

// Question is what a Source is asked for.
type Question struct {
	Cluster string
	Stream  string // one of the Stream values of flowlog
	// Filter is LogQL to come after the stream selector. It only spares work.
	Filter string
	Spans  []Span
	// Limit is the number of entries of each span that will do, the earliest; 0 for all.
	Limit int
}

// Entry is one entry of a stream.
type Entry struct {
	Time     time.Time
	Stream   map[string]string // index labels, shared by entries of a stream
	Line     string
	Metadata map[string]string // structured metadata, dots of the keys as underscores
}

// Flow is the flow of a flow record. It fails, wrapping flowlog.ErrNotALine, for an entry
// that is none.
func (e *Entry) Flow() (flowlog.Flow, error) {
	f, err := flowlog.ParseLine(e.Line)
	if err == nil {
		err = f.ParseAttributes(func(attribute string) string { return e.Metadata[Label(attribute)] })
	}
	return f, err
}

// unix is a Span of seconds since the epoch.
func unix(from, to int64) Span { return Span{time.Unix(from, 0), time.Unix(to, 0)} }
