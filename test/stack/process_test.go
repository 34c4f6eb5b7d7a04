package stack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script makes the shell script text what the program variable PROGRAM names.
func script(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
	t.Setenv("PROGRAM", path)
}

// says returns a readiness check: the process has written text.
func says(text string) func(context.Context, *Process) error {
	return func(_ context.Context, p *Process) error {
		log, err := p.Log()
		if err == nil && log != text {
			err = errors.New("it has not said " + text)
		}
		return err
	}
}

func TestProcessThatEndsBeforeItIsReady(t *testing.T) {
	script(t, "for i in $(seq 20); do echo line $i; done; exit 3")
	s := New(t.TempDir())
	_, err := s.start(t.Context(), "part", "PROGRAM", nil, nil, says("hello"))
	require.ErrorContains(t, err, "part ended before it was ready: exit status 3; the last lines of")
	require.ErrorContains(t, err, "line 6\n")
	require.NotContains(t, err.Error(), "line 5\n")
	require.NoError(t, s.Stop())
}

func TestProcessThatIsNotReadyInTime(t *testing.T) {
	script(t, "echo busy; exec sleep 60")
	s := New(t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.start(ctx, "part", "PROGRAM", nil, nil, says("hello\n"))
	require.ErrorContains(t, err, "part was not ready in time: it has not said hello")
	require.ErrorContains(t, err, "busy")
	require.NoError(t, s.Stop())
}

func TestStopEndsAll(t *testing.T) {
	script(t, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done")
	s := New(t.TempDir())
	var all []*Process
	for range 2 {
		p, err := s.start(t.Context(), "part", "PROGRAM", nil, nil, says("ready\n"))
		require.NoError(t, err)
		all = append(all, p)
	}
	require.NoError(t, s.Stop())
	for _, p := range all {
		require.ErrorIs(t, syscall.Kill(p.cmd.Process.Pid, 0), syscall.ESRCH)
	}
	assert.Empty(t, s.died, "a process that was stopped did not die")
}

func TestDeathIsTold(t *testing.T) {
	script(t, "echo ready; read end < \"$1\"; echo alas; exit 1")
	fifo := filepath.Join(t.TempDir(), "end")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	s := New(t.TempDir())
	p, err := s.start(t.Context(), "part", "PROGRAM", []string{fifo}, nil, says("ready\n"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(fifo, []byte("now\n"), 0o600))
	select {
	case dead := <-s.Died():
		assert.Same(t, p, dead)
		require.ErrorContains(t, dead.ExitError(t.Context()), "part ended: exit status 1")
		require.ErrorContains(t, dead.ExitError(t.Context()), "alas")
	case <-time.After(30 * time.Second):
		t.Fatal("Died told nothing")
	}
	require.NoError(t, s.Stop())
}

func TestStopTellsAnUncleanEnd(t *testing.T) {
	script(t, "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
	s := New(t.TempDir())
	_, err := s.start(t.Context(), "part", "PROGRAM", nil, nil, says("ready\n"))
	require.NoError(t, err)
	require.ErrorContains(t, s.Stop(), "part did not end cleanly: exit status 7")
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	script(t, "trap '' TERM; sleep 60 & echo $!; wait; sleep 60")
	s := New(t.TempDir())
	var child int
	p, err := s.start(t.Context(), "part", "PROGRAM", nil, nil, func(_ context.Context, p *Process) (err error) {
		log, err := p.Log()
		if err == nil {
			child, err = strconv.Atoi(strings.TrimSpace(log))
		}
		return err
	})
	require.NoError(t, err)
	p.grace = 50 * time.Millisecond
	require.ErrorContains(t, s.Stop(), "part did not end within 50ms of SIGTERM and was killed")
	require.Eventually(t, func() bool { return !runs(child) }, 30*time.Second, 10*time.Millisecond, "what it started lives on")
}

// runs reports whether a process is there and no zombie: without a parent it may stay
// one in a container whose first process does not reap.
func runs(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) {
		return syscall.Kill(pid, 0) == nil
	}
	return !strings.Contains(string(stat), ") Z ")
}

func TestProgramThatIsNotNamed(t *testing.T) {
	t.Setenv("LOKI_URL", "")
	t.Setenv("LOKI_BIN", "")
	_, err := New(t.TempDir()).Loki(t.Context())
	require.ErrorContains(t, err, "LOKI_BIN is not set: run this through make")
}
