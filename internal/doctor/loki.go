package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/goldtrail/goldtrail/internal/trail"
)

// Loki says which Loki, and whose trail in it.
type Loki struct {
	Client *trail.Client
	// Cluster is k8s.cluster.name, "" for the only one there is.
	Cluster string
}

// maxBody is how much of an answer is read. The configuration is 100 KB, more with
// overrides.
const maxBody = 8 << 20

// reply is an answer of Loki.
type reply struct {
	status int
	body   []byte
	date   time.Time // Loki's clock; zero if it does not tell
}

// said is the beginning of what a reply says, on one line.
func (r *reply) said() string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(r.body), "")), " ")
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	if text == "" {
		return fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	}
	return fmt.Sprintf("%d %s: %s", r.status, http.StatusText(r.status), text)
}

// ask sends one request, once. parameters may be nil.
func (l *Loki) ask(ctx context.Context, method, path string, parameters url.Values, change ...func(http.Header)) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	address := strings.TrimSuffix(l.Client.URL, "/") + path
	if len(parameters) > 0 {
		address += "?" + parameters.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(nil))
	if err != nil {
		return nil, err
	}
	req.Header = l.Client.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	for _, f := range change {
		f(req.Header)
	}
	client := l.Client.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, &trail.UnreachableError{URL: l.Client.URL, Err: err}
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, &trail.UnreachableError{URL: l.Client.URL, Err: err}
	}
	r := &reply{status: resp.StatusCode, body: body}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		r.date = date
	}
	return r, nil
}

// get asks for a path.
func (l *Loki) get(ctx context.Context, path string, parameters url.Values) (*reply, error) {
	return l.ask(ctx, http.MethodGet, path, parameters)
}

// examine returns why Loki cannot be asked, nil if it can.
func (l *Loki) examine(ctx context.Context, clock clockwork.Clock, s *section) error {
	if l == nil {
		s.skip("reach", "not named")
		return nil
	}
	if err := l.reach(ctx, clock, s); err != nil {
		return err
	}
	l.otlp(ctx, s)
	l.limits(ctx, s)
	l.records(ctx, clock, s)
	return nil
}

// reach checks that Loki is there, is ready and lets us in.
func (l *Loki) reach(ctx context.Context, clock clockwork.Clock, s *section) error {
	before := clock.Now()
	build, err := l.get(ctx, "/loki/api/v1/status/buildinfo", nil)
	if err != nil {
		var request *url.Error // it repeats the whole address
		why := err
		if errors.As(err, &request) {
			why = request.Err
		}
		s.fail("reach", "name it with --addr or LOKI_ADDR; from outside the cluster after `kubectl port-forward svc/loki 3100`", "no answer at %s: %v", l.Client.URL, why)
		return err
	}
	// What needs a tenant and credentials, as reading the trail does.
	labels, err := l.get(ctx, "/loki/api/v1/labels", url.Values{
		"start": {strconv.FormatInt(before.Add(-time.Hour).UnixNano(), 10)}, "end": {strconv.FormatInt(before.UnixNano(), 10)},
	})
	if err != nil {
		s.fail("reach", "it went away while it was asked", "%v", err)
		return err
	}
	ready, err := l.get(ctx, "/ready", nil)
	if err != nil {
		s.fail("reach", "it went away while it was asked", "%v", err)
		return err
	}
	if labels.status != http.StatusOK && ready.status != http.StatusServiceUnavailable {
		s.fail("reach", refusedRemedy(labels.status), "%s answers %s", l.Client.URL, labels.said())
		return &trail.StatusError{Status: labels.status, Body: strings.TrimPrefix(labels.said(), fmt.Sprintf("%d %s: ", labels.status, http.StatusText(labels.status)))}
	}
	s.ok("reach", "%s answers, and lets us read", l.Client.URL)

	switch ready.status {
	case http.StatusOK:
		s.ok("ready", "it takes part in everything it is to")
	case http.StatusServiceUnavailable:
		s.fail("ready", "wait a minute: a Loki that has started needs half of one; then its log says why", "%s", ready.said())
	default:
		s.skip("ready", "/ready answers %s: what stands before Loki may not pass it on", ready.said())
	}
	l.version(build, s)
	if !build.date.IsZero() {
		clockOffset(s, "Loki's", build.date, before, clock.Now())
	}
	return nil
}

// refusedRemedy is for statuses of a Loki that does not let us read.
func refusedRemedy(code int) string {
	switch code {
	case http.StatusUnauthorized:
		return "give --org-id (LOKI_ORG_ID) if it has tenants, LOKI_USERNAME and LOKI_PASSWORD, or LOKI_BEARER_TOKEN"
	case http.StatusForbidden:
		return "these credentials may not read here: another tenant (--org-id), or others"
	case http.StatusNotFound:
		return "is --addr the base of a Loki, without /loki/api? A gateway may want a path before it"
	case http.StatusTooManyRequests:
		return "Loki has more to do than it can: ask later, or raise its limits for reading (max_outstanding_per_tenant)"
	}
	return "Loki's own log says why"
}

// version checks that it is a Loki that knows OTLP.
func (l *Loki) version(build *reply, s *section) {
	var info struct {
		Version string `json:"version"`
	}
	if build.status != http.StatusOK || json.Unmarshal(build.body, &info) != nil || info.Version == "" {
		s.skip("version", "/loki/api/v1/status/buildinfo answers %s", build.said())
		return
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(info.Version, "v"), ".")
	switch n, err := strconv.Atoi(major); {
	case err != nil:
		s.ok("version", "%s", info.Version) // a build of one's own
	case n < 3:
		s.fail("version", "upgrade to Loki 3.0 or newer, with schema v13: older ones do not take OTLP", "%s", info.Version)
	default:
		s.ok("version", "%s", info.Version)
	}
}

// clockOffset compares a clock that tells whole seconds with this machine's. before and
// after are when it was asked and when it answered.
func clockOffset(s *section, whose string, theirs, before, after time.Time) {
	const remedy = "set the clocks by NTP; a Collector that is behind reads windows late, one that is ahead reads them before nodes have sent them"
	ahead, behind := theirs.Sub(after), before.Sub(theirs.Add(time.Second))
	switch {
	case ahead > tolerance*time.Second:
		s.warn("clock", remedy, "%s is %s ahead of this machine's", whose, span(ahead))
	case behind > tolerance*time.Second:
		s.warn("clock", remedy, "%s is %s behind this machine's", whose, span(behind))
	default:
		s.ok("clock", "%s is within %d s of this machine's", whose, int(max(ahead, behind, 0).Seconds())+1)
	}
}

// otlp checks that logs are taken, with an export that has none.
func (l *Loki) otlp(ctx context.Context, s *section) {
	r, err := l.ask(ctx, http.MethodPost, "/otlp/v1/logs", nil, func(h http.Header) { h.Set("Content-Type", "application/x-protobuf") })
	switch {
	case err != nil:
		s.fail("otlp", "is Loki still there?", "%v", err)
	case r.status/100 == 2, r.status == http.StatusUnprocessableEntity && strings.Contains(string(r.body), "at least one valid stream"):
		s.ok("otlp", "/otlp/v1/logs takes logs (it was sent none)")
	case r.status == http.StatusNotFound, r.status == http.StatusMethodNotAllowed:
		s.fail("otlp", "Loki 3.0 or newer takes OTLP; what stands before it must pass /otlp/v1/logs on to the distributors", "/otlp/v1/logs answers %s", r.said())
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden:
		s.warn("otlp", "the Collector's credentials may be others than ours: its own check of the exporter tells", "we may not write: %s", r.said())
	default:
		s.fail("otlp", "what Loki says is why; see limits_config::allow_structured_metadata and the schema, which must be v13", "/otlp/v1/logs answers %s", r.said())
	}
}
