// Package doctor looks at what a trail rests on: Goldmane, Loki, the rights in Kubernetes
// and the Collector. Each check says how things are and, where they are not well, what to
// do about it.
//
// It only looks. Of Goldmane it lists single windows that are over, one call at a time,
// never with a negative page, and opens no stream. Loki is sent an empty export, of which
// it stores nothing. Of Kubernetes it reads what cannot be there.
package doctor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// Status is how a check went.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // works, and may not for long, or cannot be sure of
	Failure Status = "failure" // does not work
	Skipped Status = "skipped" // could not be looked at
)

// The areas of checks.
const (
	AreaGoldmane   = "goldmane"
	AreaLoki       = "loki"
	AreaTrail      = "trail"
	AreaKubernetes = "kubernetes"
	AreaCollector  = "collector"
)

// Check is one thing that was looked at.
type Check struct {
	Area   string `json:"area"`
	Name   string `json:"check"`
	Status Status `json:"status"`
	// Detail is what was found, or why it was not looked at.
	Detail string `json:"detail"`
	// Remedy is what to do; "" where all is well.
	Remedy string `json:"remedy,omitempty"`
}

// Report is all checks, in the order of the trail's way.
type Report struct {
	Checks []Check `json:"checks"`
	// Count is the number of checks by status.
	Count map[Status]int `json:"count"`
	// LokiError is why Loki cannot be asked at all; nil if it can.
	LokiError error `json:"-"`
}

// Patient is what is looked at. A part that is nil is skipped.
type Patient struct {
	Goldmane   *Goldmane
	Loki       *Loki
	Kubernetes *Kubernetes
	Collector  *Collector
	// Clock is this machine's.
	Clock clockwork.Clock
}

// callTimeout bounds every call: a person waits.
const callTimeout = 10 * time.Second

// Examine runs all checks. The parts are looked at side by side; ctx ends them.
func Examine(ctx context.Context, p *Patient) *Report {
	goldmane := &section{area: AreaGoldmane}
	loki := &section{area: AreaLoki}
	kubernetes := &section{area: AreaKubernetes}
	collector := &section{area: AreaCollector}
	r := &Report{Count: map[Status]int{OK: 0, Warning: 0, Failure: 0, Skipped: 0}}

	var parts sync.WaitGroup
	parts.Go(func() { p.Goldmane.examine(ctx, p.Clock, goldmane) })
	parts.Go(func() { r.LokiError = p.Loki.examine(ctx, p.Clock, loki) })
	parts.Go(func() { p.Kubernetes.examine(ctx, kubernetes) })
	parts.Go(func() { p.Collector.examine(ctx, p.Clock, collector) })
	parts.Wait()

	for _, s := range []*section{goldmane, collector, kubernetes, loki} {
		r.Checks = append(r.Checks, s.checks...)
	}
	for i := range r.Checks {
		r.Count[r.Checks[i].Status]++
	}
	return r
}

// section collects the checks of a part. Not safe for concurrent use.
type section struct {
	area   string
	checks []Check
}

func (s *section) add(status Status, name, detail, remedy string) {
	s.checks = append(s.checks, Check{Area: s.area, Name: name, Status: status, Detail: detail, Remedy: remedy})
}

func (s *section) ok(name, format string, args ...any) {
	s.add(OK, name, fmt.Sprintf(format, args...), "")
}

func (s *section) warn(name, remedy, format string, args ...any) {
	s.add(Warning, name, fmt.Sprintf(format, args...), remedy)
}

func (s *section) fail(name, remedy, format string, args ...any) {
	s.add(Failure, name, fmt.Sprintf(format, args...), remedy)
}

// skip says why a check was not made.
func (s *section) skip(name, format string, args ...any) {
	s.add(Skipped, name, fmt.Sprintf(format, args...), "")
}

// expiryNotice is how long before its end a certificate is warned of. The Tigera operator
// renews 30 days before, so that one with 14 days left has been forgotten.
const expiryNotice = 14 * 24 * time.Hour

// dates checks how long a certificate is good.
func (s *section) dates(name, whose string, from, to, now time.Time, remedy string) {
	until := to.UTC().Format(time.RFC3339)
	switch {
	case now.Before(from):
		s.fail(name, "wait, or mend this machine's clock", "%s is not good before %s", whose, from.UTC().Format(time.RFC3339))
	case !now.Before(to):
		s.fail(name, remedy, "%s ended at %s", whose, until)
	case to.Sub(now) < expiryNotice:
		s.warn(name, remedy, "%s ends at %s, in %s", whose, until, span(to.Sub(now)))
	default:
		s.ok(name, "%s is good until %s, for %s", whose, until, span(to.Sub(now)))
	}
}

// span is a length of time in the unit that people would say it in.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}
