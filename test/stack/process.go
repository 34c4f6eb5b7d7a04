package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// stopGrace is how long a process may take to end after SIGTERM. Loki needs
	// 0.3 s, a Collector that is draining its queue a few seconds.
	stopGrace = 20 * time.Second
	// pollEvery is the interval of every readiness check.
	pollEvery = 50 * time.Millisecond
	// tailLines is how much of a log an error shows.
	tailLines = 15
)

// Process is a running program. Its standard output and standard error go to LogPath.
type Process struct {
	Name    string
	LogPath string

	cmd      *exec.Cmd
	grace    time.Duration // from SIGTERM to SIGKILL
	resigns  bool          // ends by SIGTERM itself, in good order, rather than with status 0
	stopping atomic.Bool
	done     chan struct{} // closed after err is set, when the process is gone
	err      error         // how it ended; read only after done
}

// startProcess starts program with env added to this process's environment.
func startProcess(name, logPath, program string, args, env []string) (*Process, error) {
	log, err := os.Create(filepath.Clean(logPath))
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the child holds its own descriptor

	cmd := exec.Command(program, args...) //nolint:gosec,noctx // the Makefile names the programs; Stop ends them in order, which a context would not
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, LogPath: logPath, cmd: cmd, grace: stopGrace, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// ExitError waits until the process is gone and says how it ended: nil for exit
// status 0, otherwise an error with the last lines of its log.
func (p *Process) ExitError(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return p.explain(fmt.Errorf("is still running: %w", ctx.Err()))
	case <-p.done:
	}
	if p.err != nil {
		return p.explain(fmt.Errorf("ended: %w", p.err))
	}
	return nil
}

// CPU is the time that the process has taken, user and system; 0 until it is gone.
func (p *Process) CPU() time.Duration {
	select {
	case <-p.done:
		return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	default:
		return 0
	}
}

// Log returns all that the process has written so far.
func (p *Process) Log() (string, error) {
	b, err := os.ReadFile(p.LogPath)
	return string(b), err
}

// await calls ready until it returns nil. It gives up when the process ends or when
// ctx is done, and then tells the last error of ready and the end of the log.
func (p *Process) await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // and not that time is over
		}
		select {
		case <-p.done:
			if p.err != nil {
				return p.explain(fmt.Errorf("ended before it was ready: %w", p.err))
			}
			return p.explain(errors.New("ended before it was ready"))
		case <-ctx.Done():
			return p.explain(fmt.Errorf("was not ready in time: %w", last))
		case <-tick.C:
		}
	}
}

// Stop ends the process: SIGTERM, then SIGKILL for it and its children if it has not
// gone in time. A process that ended by itself before is no error here.
func (p *Process) Stop() error {
	p.stopping.Store(true)
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	grace := time.NewTimer(p.grace)
	defer grace.Stop()
	select {
	case <-p.done:
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && p.resigns && status.Signal() == syscall.SIGTERM {
			return nil
		}
		if p.err != nil {
			return p.explain(fmt.Errorf("did not end cleanly: %w", p.err))
		}
		return nil
	case <-grace.C:
	}
	killErr := killGroup(p.cmd.Process.Pid)
	<-p.done
	return errors.Join(p.explain(fmt.Errorf("did not end within %s of SIGTERM and was killed", p.grace)), killErr)
}

// explain puts the process's name before err and the end of its log after it.
func (p *Process) explain(err error) error {
	return fmt.Errorf("%s %w; %s", p.Name, err, p.Tail())
}

// Tail is the end of the log, with a heading, for a message.
func (p *Process) Tail() string {
	log, err := p.Log()
	if err != nil {
		return fmt.Sprintf("its log cannot be read: %v", err)
	}
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return fmt.Sprintf("the last lines of %s:\n  %s", p.LogPath, strings.Join(lines, "\n  "))
}
