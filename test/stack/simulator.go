package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
)

// SimulatorOptions are goldmane-sim's. The zero value of each leaves the simulator's
// own default in force, except that Listen is then a free port of loopback.
type SimulatorOptions struct {
	Listen  string
	Window  time.Duration // whole seconds
	Seed    uint64
	History int // windows of past traffic; negative for none
	TLS     TLSFiles
	Calm    bool // no node is cut off, silent or slow
	// Begin and End bound the traffic, to the second. The zero Time is no bound.
	Begin, End time.Time
}

// TLSFiles are paths of PEM files, all or none of them empty.
type TLSFiles struct {
	Cert, Key, CA string
}

// listening is what goldmane-sim prints, followed by its address, once it serves.
const listening = "goldmane-sim: listening on "

// truthAt is what it prints before that, followed by where it tells what was really sent.
const truthAt = "goldmane-sim: truth at "

// Simulator starts goldmane-sim and returns its address once it serves. What was really
// sent is what the process's Truth says.
func (s *Stack) Simulator(ctx context.Context, o SimulatorOptions) (string, *Process, error) {
	listen := o.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	args := []string{"--listen", listen, "--quiet", "--truth-listen", "127.0.0.1:0"}
	if o.Calm {
		args = append(args, "--calm")
	}
	if !o.Begin.IsZero() {
		args = append(args, "--from", strconv.FormatInt(o.Begin.Unix(), 10))
	}
	if !o.End.IsZero() {
		args = append(args, "--until", strconv.FormatInt(o.End.Unix(), 10))
	}
	if o.Window > 0 {
		args = append(args, "--window", o.Window.String())
	}
	if o.Seed > 0 {
		args = append(args, "--seed", strconv.FormatUint(o.Seed, 10))
	}
	if o.History != 0 {
		args = append(args, "--history", strconv.Itoa(max(o.History, 0)))
	}
	if o.TLS != (TLSFiles{}) {
		args = append(args, "--tls-cert", o.TLS.Cert, "--tls-key", o.TLS.Key, "--tls-ca", o.TLS.CA)
	}
	var addr string
	p, err := s.start(ctx, "goldmane-sim", "GOLDMANE_SIM_BIN", args, nil, func(_ context.Context, p *Process) error {
		log, err := p.Log()
		if err != nil {
			return err
		}
		line, whole := printed(log, listening)
		if !whole {
			return errors.New("it has not said that it listens")
		}
		addr = line
		return nil
	})
	return addr, p, err
}

// printed is the rest of the line that begins so.
func printed(log, begin string) (rest string, whole bool) {
	_, after, found := strings.Cut(log, begin)
	rest, _, whole = strings.Cut(after, "\n")
	return rest, found && whole
}

// TruthURL is where a goldmane-sim tells what its cluster really sent.
func (p *Process) TruthURL() (string, error) {
	log, err := p.Log()
	if err != nil {
		return "", err
	}
	url, whole := printed(log, truthAt)
	if !whole {
		return "", fmt.Errorf("%s tells no truth: it is no simulator", p.Name)
	}
	return url, nil
}

// Truth is what a goldmane-sim's cluster really sent from one second to another, that one
// not included.
func (p *Process) Truth(ctx context.Context, from, to time.Time) ([]traffic.Truth, error) {
	url, err := p.TruthURL()
	if err != nil {
		return nil, err
	}
	url = fmt.Sprintf("%s?from=%d&to=%d", url, from.Unix(), to.Unix())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it is read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	var truth []traffic.Truth
	err = json.Unmarshal(body, &truth)
	return truth, err
}
