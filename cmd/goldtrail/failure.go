package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/goldtrail/goldtrail/internal/trail"
)

// Exit codes. docs/goldtrail.md tells them.
const (
	exitAnswered = 0
	exitFailed   = 1   // something else went wrong
	exitUsage    = 2   // unknown or contradictory flags, a time that is none
	exitLoki     = 3   // Loki cannot be reached, or refuses
	exitNoData   = 4   // there is no trail in the range
	exitStopped  = 130 // interrupted, as shells have it
)

// usageError is a question that was put wrongly.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// explainError says what an error means for the person who asked, and the exit code.
func explainError(ctx context.Context, err error, c *connection) (code int, message string) {
	var usage usageError
	var clusters *trail.ClusterError
	var nothing *trail.NoDataError
	var unreachable *trail.UnreachableError
	var refused *trail.StatusError
	var strange *trail.AnswerError
	var file *os.PathError
	switch {
	case ctx.Err() != nil:
		return exitStopped, "stopped"
	case errors.As(err, &usage), errors.As(err, &clusters):
		return exitUsage, err.Error()
	case errors.As(err, &nothing), errors.Is(err, trail.ErrNotATrail):
		return exitNoData, err.Error()
	case errors.As(err, &unreachable):
		var request *url.Error // it repeats the whole address
		why := unreachable.Err
		if errors.As(why, &request) {
			why = request.Err
		}
		return exitLoki, fmt.Sprintf("no answer from Loki at %s: %v; name it with --addr or LOKI_ADDR, from outside the cluster after `kubectl port-forward svc/loki 3100`", c.Addr, why)
	case errors.As(err, &refused):
		return exitLoki, refusal(refused, c)
	case errors.As(err, &strange):
		return exitLoki, fmt.Sprintf("%s does not answer like a Loki (%v): is --addr the base of a Loki, or of a page to log in?", c.Addr, strange.Err)
	case errors.As(err, &file) && file.Path == c.File:
		return exitFailed, fmt.Sprintf("'--file' is %q: %v; name a file that the Collector's file exporter wrote", c.File, file.Err)
	}
	return exitFailed, err.Error()
}

// refusal says what to do about a status.
func refusal(e *trail.StatusError, c *connection) string {
	remedy := ""
	switch e.Status {
	case http.StatusUnauthorized:
		remedy = "give --org-id (LOKI_ORG_ID) if it has tenants, LOKI_USERNAME and LOKI_PASSWORD, or LOKI_BEARER_TOKEN"
		if c.authorized() {
			remedy = "what was given as " + c.credentials() + " is not what it wants"
		}
	case http.StatusForbidden:
		remedy = c.credentials() + " may not read here: another tenant (--org-id), or other credentials"
	case http.StatusNotFound:
		remedy = "is --addr the base of a Loki, without /loki/api? A gateway may want a path before it"
	case http.StatusTooManyRequests:
		remedy = "it went on for --patience: ask for a shorter time, or later, or raise Loki's limits for reading (max_outstanding_per_tenant)"
	case http.StatusGatewayTimeout:
		remedy = "so it does for a small part of the time, and it went on for --patience: the log of Loki, or of the gateway before it, says why; raise its timeout, or ask later"
	default:
		if e.Status >= 500 {
			remedy = "it went on for --patience: Loki's own log says why"
		}
	}
	message := fmt.Sprintf("Loki at %s answers %d %s", c.Addr, e.Status, http.StatusText(e.Status))
	if e.Body != "" {
		message += " (" + e.Body + ")"
	}
	if remedy != "" {
		message += ": " + remedy
	}
	return message
}
