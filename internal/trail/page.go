package trail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// Selector is the LogQL selector of a stream of a cluster. Records that name no cluster
// are those of cluster "".
func Selector(stream, cluster string) string {
	return "{" + Label(flowlog.ServiceName) + "=" + strconv.Quote(stream) +
		", " + clusterLabel + "=" + strconv.Quote(cluster) + "}"
}

// Flows is the selector of the flow records of a cluster, or of all clusters if cluster
// is "".
func Flows(cluster string) string {
	if cluster == "" {
		return "{" + Label(flowlog.ServiceName) + "=" + strconv.Quote(flowlog.StreamFlows) + "}"
	}
	return Selector(flowlog.StreamFlows, cluster)
}

// clusterLabel is the index label that names the cluster.
var clusterLabel = Label(flowlog.ClusterName)

// Label is the name that Loki gives to an OpenTelemetry attribute.
func Label(attribute string) string { return strings.ReplaceAll(attribute, ".", "_") }

// page returns the first limit entries of the span, in the order of time, without
// repeats. It is full if there may be more.
func (c *Client) page(ctx context.Context, query string, span Span, limit int, inParts bool) (entries []Entry, full bool, err error) {
	parameters := url.Values{
		"query":     {query},
		"start":     {strconv.FormatInt(span.From.UnixNano(), 10)},
		"end":       {strconv.FormatInt(span.To.UnixNano(), 10)},
		"limit":     {strconv.Itoa(limit)},
		"direction": {"forward"},
	}
	err = c.get(ctx, "/loki/api/v1/query_range", parameters, inParts, func(r io.Reader) (err error) {
		entries, err = decode(r)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", query, err)
	}
	full = len(entries) >= limit
	return dropRepeats(entries), full, nil
}

// errCategories is returned for an answer in which structured metadata cannot be told
// from labels.
var errCategories = errors.New("it does not tell structured metadata from labels: Loki 3.0 or newer is needed, and what stands before it must pass the header X-Loki-Response-Encoding-Flags on")

// decode returns the entries of all streams in an answer of query_range, sorted by time.
//
// It reads token by token, and makes names and values that repeat one string.
func decode(r io.Reader) ([]Entry, error) {
	d := decoder{Decoder: jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true)), known: make(map[string]string)}
	var resultType string
	err := d.object(func(name string) error {
		if name != "data" {
			return d.SkipValue()
		}
		return d.object(func(name string) (err error) {
			switch name {
			case "resultType":
				resultType, err = d.text()
				return err
			case "encodingFlags":
				return d.array(func() error {
					flag, err := d.text()
					d.categorized = d.categorized || flag == "categorize-labels"
					return err
				})
			case "result":
				return d.array(d.stream)
			}
			return d.SkipValue()
		})
	})
	switch {
	case err != nil:
		return nil, err
	case resultType != "streams":
		return nil, fmt.Errorf("result type %q instead of streams", resultType)
	case len(d.entries) > 0 && !d.categorized:
		return nil, errCategories
	}
	slices.SortStableFunc(d.entries, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	return d.entries, nil
}

// dropRepeats removes repeats from entries that are sorted by time: Loki can hold an
// entry twice that was sent twice, also in two shards of a stream. A repeat has the same
// time and line, in the same cluster.
func dropRepeats(entries []Entry) []Entry {
	kept := entries[:0]
	same := 0 // where the entries of one time begin in kept
	for _, e := range entries {
		if len(kept) > 0 && !kept[len(kept)-1].Time.Equal(e.Time) {
			same = len(kept)
		}
		if !slices.ContainsFunc(kept[same:], func(k Entry) bool { return k.Line == e.Line && k.Stream[clusterLabel] == e.Stream[clusterLabel] }) {
			kept = append(kept, e)
		}
	}
	return kept
}

// decoder reads Loki's answer.
type decoder struct {
	*jsontext.Decoder
	known       map[string]string // names and values of metadata, of which there are few
	categorized bool
	entries     []Entry
}

func (d *decoder) object(member func(name string) error) error {
	return d.each('{', '}', func() error {
		name, err := d.text()
		if err != nil {
			return err
		}
		return member(name)
	})
}

func (d *decoder) array(element func() error) error { return d.each('[', ']', element) }

func (d *decoder) each(begin, end jsontext.Kind, fn func() error) error {
	token, err := d.ReadToken()
	switch {
	case err != nil:
		return err
	case token.Kind() == 'n': // null
		return nil
	case token.Kind() != begin:
		return fmt.Errorf("a %s at byte %d instead of %s", token.Kind(), d.InputOffset(), begin)
	}
	for d.PeekKind() != end {
		if err := fn(); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// text reads a string.
func (d *decoder) text() (string, error) {
	token, err := d.ReadToken()
	if err != nil {
		return "", err
	}
	if token.Kind() != '"' {
		return "", fmt.Errorf("a %s at byte %d instead of a string", token.Kind(), d.InputOffset())
	}
	return token.String(), nil
}

// few is text for strings of which there are few different ones.
func (d *decoder) few() (string, error) {
	value, err := d.ReadValue()
	if err != nil {
		return "", err
	}
	if s, ok := d.known[string(value)]; ok {
		return s, nil
	}
	b, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "", err
	}
	s := string(b)
	d.known[string(value)] = s
	return s, nil
}

// shardLabel is what Loki adds to a stream that it has split because of its rate. It
// says nothing about the record, and a repeat may stand in another shard.
const shardLabel = "__stream_shard__"

func (d *decoder) stream() error {
	labels := make(map[string]string, 4)
	return d.object(func(name string) error {
		switch name {
		case "stream":
			return d.each('{', '}', func() error {
				key, err := d.few()
				if err != nil {
					return err
				}
				value, err := d.few()
				if key != shardLabel {
					labels[key] = value
				}
				return err
			})
		case "values":
			return d.array(func() error { return d.entry(labels) })
		}
		return d.SkipValue()
	})
}

// entry reads [time, line, {"structuredMetadata": {...}}].
func (d *decoder) entry(labels map[string]string) error {
	e := Entry{Stream: labels}
	n := 0
	err := d.array(func() error {
		n++
		switch n {
		case 1:
			text, err := d.text()
			if err != nil {
				return err
			}
			nanos, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return fmt.Errorf("time of an entry: %w", err)
			}
			e.Time = time.Unix(0, nanos)
			return nil
		case 2:
			var err error
			e.Line, err = d.text()
			return err
		case 3:
			return d.object(func(name string) error {
				if name != "structuredMetadata" {
					return d.SkipValue()
				}
				e.Metadata = make(map[string]string, 4)
				return d.each('{', '}', func() error {
					key, err := d.few()
					if err != nil {
						return err
					}
					e.Metadata[key], err = d.few()
					return err
				})
			})
		}
		return d.SkipValue()
	})
	if err != nil {
		return err
	}
	if n < 2 {
		return fmt.Errorf("an entry of %d parts at byte %d", n, d.InputOffset())
	}
	d.entries = append(d.entries, e)
	return nil
}
