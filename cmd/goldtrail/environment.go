package main

import (
	"io"
	"os"
	"strconv"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/term"
)

// environment is what the command knows of where it runs.
type environment struct {
	out, err io.Writer
	getenv   func(string) string
	clock    clockwork.Clock
	zone     *time.Location // of times that people read and write
	// width is the terminal's, 0 if out is none: nothing is cut then.
	width int
	// terminal and errTerminal are whether a person sees out and err.
	terminal, errTerminal bool
}

func newEnvironment() *environment {
	e := &environment{
		out: os.Stdout, err: os.Stderr, getenv: os.Getenv, clock: clockwork.NewRealClock(), zone: time.Local, //nolint:gosmopolitan // people's own time
		terminal: term.IsTerminal(int(os.Stdout.Fd())), errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	if e.terminal {
		if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
			e.width = width
		}
	}
	// As other programs do that format for a terminal; also to see what a narrow one shows.
	if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && columns > 0 {
		e.width = columns
	}
	return e
}

// colours reports whether to use them: https://no-color.org
func (e *environment) colours() bool {
	return e.terminal && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"
}
