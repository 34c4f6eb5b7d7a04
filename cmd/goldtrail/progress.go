package main

import (
	"fmt"
	"time"
)

// quiet is how long a question may take before its progress is shown.
const quiet = time.Second

// progress tells a person who waits what is being done. It is silent where nobody sees it.
type progress struct {
	*environment
	begin time.Time
	shown bool
}

func (p *progress) show(what string, done, all int) {
	if !p.errTerminal || p.clock.Since(p.begin) < quiet {
		return
	}
	p.shown = true
	fmt.Fprintf(p.err, "\r\x1b[Kreading %s: %d %% (%.0f s)", what, 100*done/max(all, 1), p.clock.Since(p.begin).Seconds())
}

// done wipes the line.
func (p *progress) done() {
	if p.shown {
		p.shown = false
		fmt.Fprint(p.err, "\r\x1b[K")
	}
}
