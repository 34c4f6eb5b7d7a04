package stack

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// SimulatorOptions are goldmane-sim's. The zero value of each leaves the simulator's
// own default in force, except that Listen is then a free port of loopback.
type SimulatorOptions struct {
	Listen  string
	Window  time.Duration // whole seconds
	Seed    uint64
	History int // windows of past traffic; negative for none
	TLS     TLSFiles
}

// TLSFiles are paths of PEM files, all or none of them empty.
type TLSFiles struct {
	Cert, Key, CA string
}

// listening is what goldmane-sim prints, followed by its address, once it serves.
const listening = "goldmane-sim: listening on "

// Simulator starts goldmane-sim and returns its address once it serves.
func (s *Stack) Simulator(ctx context.Context, o SimulatorOptions) (string, *Process, error) {
	listen := o.Listen
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	args := []string{"--listen", listen, "--quiet"}
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
		_, after, found := strings.Cut(log, listening)
		line, _, whole := strings.Cut(after, "\n")
		if !found || !whole {
			return errors.New("it has not said that it listens")
		}
		addr = line
		return nil
	})
	return addr, p, err
}
