package trail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// defaultPageSize is Loki's default of max_entries_limit_per_query.
	defaultPageSize = 5000
	// defaultParallel is how many questions Loki is asked at a time.
	defaultParallel = 4
	// patience is how long a question that Loki cannot take just now is asked again.
	patience = time.Minute
)

// Client asks one Loki. It is safe for concurrent use; its fields must not change then.
type Client struct {
	// URL is Loki's base: http://127.0.0.1:3100
	URL string
	// HTTP is http.DefaultClient if nil. The context of a call bounds its time.
	HTTP *http.Client
	// Header is sent with every question: credentials, X-Scope-OrgID.
	Header http.Header
	// PageSize is the number of entries per question, Loki's default limit of 5000 if 0. It
	// is made smaller where Loki allows less.
	PageSize int
	// Parallel is how many questions are asked at a time, 4 if 0.
	Parallel int
	// Patience is how long a question that Loki cannot take just now (429, 5xx, no
	// connection) is asked again, a minute if 0, not at all if negative.
	Patience time.Duration
	// Asked, if not nil, is told every question before it is asked: a path and its
	// parameters. It is called by many goroutines.
	Asked func(path string, parameters url.Values)
}

// StatusError is returned, wrapped, when Loki answers with another status than 200.
type StatusError struct {
	Status int
	Body   string // the beginning of what Loki says about it
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("Loki answers %d %s: %s", e.Status, http.StatusText(e.Status), e.Body)
}

// UnreachableError is returned, wrapped, when there is no answer at all.
type UnreachableError struct {
	URL string
	Err error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("no answer from Loki: %v", e.Err) }

func (e *UnreachableError) Unwrap() error { return e.Err }

// AnswerError is returned, wrapped, for an answer of status 200 that is not like Loki's.
type AnswerError struct {
	URL string
	Err error
}

func (e *AnswerError) Error() string { return fmt.Sprintf("the answer of Loki: %v", e.Err) }

func (e *AnswerError) Unwrap() error { return e.Err }

// get asks, again and again while Loki cannot take it, and gives the answer's body to
// decode, which must be content to be called again. What is too much for Loki is not
// asked again; nor is, if it will be asked in parts, what takes Loki too long.
func (c *Client) get(ctx context.Context, path string, parameters url.Values, inParts bool, decode func(io.Reader) error) error {
	if c.Asked != nil {
		c.Asked(path, parameters)
	}
	wait := c.Patience
	if wait == 0 {
		wait = patience
	}
	waiting := backoff.NewExponentialBackOff()
	waiting.InitialInterval = 200 * time.Millisecond
	options := []backoff.RetryOption{backoff.WithBackOff(waiting), backoff.WithMaxElapsedTime(wait)}
	if wait < 0 {
		options = append(options, backoff.WithMaxTries(1))
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, c.try(ctx, path, parameters, inParts, decode) }, options...)
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	return err
}

// try asks once. What is not worth another try is a backoff.PermanentError.
func (c *Client) try(ctx context.Context, path string, parameters url.Values, inParts bool, decode func(io.Reader) error) error {
	address := strings.TrimSuffix(c.URL, "/") + path + "?" + parameters.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return backoff.Permanent(fmt.Errorf("question to Loki: %w", err))
	}
	for name, values := range c.Header {
		req.Header[name] = values
	}
	// Without it Loki mixes index labels and structured metadata.
	req.Header.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")

	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return backoff.Permanent(ctx.Err())
		}
		// A Loki that is not there now will not be in a minute: a person is waiting.
		return backoff.Permanent(&UnreachableError{c.URL, err})
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode == http.StatusOK {
		body := &answerBody{Reader: resp.Body}
		err := decode(body)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return backoff.Permanent(ctx.Err())
		case body.err != nil: // it was cut off
			return backoff.Permanent(&UnreachableError{c.URL, body.err})
		}
		return backoff.Permanent(&AnswerError{c.URL, err})
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		return fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	refused := &StatusError{resp.StatusCode, strings.TrimSpace(string(body))}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
			return errors.Join(refused, backoff.RetryAfter(seconds))
		}
		return refused
	case resp.StatusCode < 500:
		return backoff.Permanent(refused)
	}
	if why := tooMuch(refused); why == enough || why == tooSlow && !inParts {
		return refused
	}
	return backoff.Permanent(refused)
}

// answerBody remembers why an answer could not be read to its end.
type answerBody struct {
	io.Reader
	err error
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// excess is why Loki refuses a question that it would answer if it were smaller.
type excess int

const (
	enough      excess = iota
	tooManyRows        // the page size is over Loki's limit
	tooLong            // the time range, or what is in it, is
	tooSlow            // it takes too long; or a gateway gives up, whatever it is asked
)

// tooMuch tells from Loki's words what is too much for it.
func tooMuch(e *StatusError) excess {
	for _, words := range [...]struct {
		part string
		excess
	}{
		{"max entries limit", tooManyRows},
		{"larger than max", tooManyRows}, // a gRPC message inside Loki
		{"the query time range exceeds the limit", tooLong},
		{"the query would read too many bytes", tooLong},
		{"the query hit the max number of chunks limit", tooLong},
		{"context deadline exceeded", tooSlow},
		{"request timed out", tooSlow},
		{"query timed out", tooSlow},
	} {
		if strings.Contains(e.Body, words.part) {
			return words.excess
		}
	}
	if e.Status == http.StatusGatewayTimeout {
		return tooSlow
	}
	return enough
}
