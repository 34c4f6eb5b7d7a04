package goldmanereceiver

import (
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// task is one window that is to be listed.
type task struct {
	start int64
	// recheck: the window was read, and is listed again to look for stragglers.
	recheck bool
	due     time.Time
	// pause spaces the attempts; nil until one has failed, which was at failed.
	pause  *backoff.ExponentialBackOff
	failed time.Time
}

// plan is what is to be done, beside the next window that was not tried yet: windows
// that failed and windows to be listed again. Nothing waits for a window that fails.
type plan struct{ tasks []*task }

func (p *plan) add(t *task) { p.tasks = append(p.tasks, t) }

func (p *plan) remove(t *task) {
	p.tasks = slices.DeleteFunc(p.tasks, func(other *task) bool { return other == t })
}

// earliest returns next or a task that is due before it.
func (p *plan) earliest(next *task) *task {
	first := next
	for _, t := range p.tasks {
		if t.due.Before(first.due) {
			first = t
		}
	}
	return first
}
