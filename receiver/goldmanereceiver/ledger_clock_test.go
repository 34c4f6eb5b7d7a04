package goldmanereceiver

import (
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
)

// timeline says how time goes in a test, to all of its processes: so many times as fast
// as the wall's, from a moment on, and in leaps where nothing happens that is worth the
// wait. Goldmane's hour passes in a second.
type timeline struct {
	Epoch time.Time `json:"epoch"`
	Speed int64     `json:"speed"`
	Leaps []leap    `json:"leaps"`
}

// leap is more time, which passes in leapTime from At on. All is known when it begins:
// a process that hears of it late is behind for a moment, and never ahead.
type leap struct {
	At time.Time     `json:"at"`
	By time.Duration `json:"by"`
}

const leapTime = time.Second

// at is what time it is when the wall says so.
func (l *timeline) at(wall time.Time) time.Time {
	now := l.Epoch.Add(wall.Sub(l.Epoch) * time.Duration(l.Speed))
	for _, leap := range l.Leaps {
		share := min(max(wall.Sub(leap.At), 0), leapTime)
		now = now.Add(time.Duration(float64(leap.By) * float64(share) / float64(leapTime)))
	}
	return now
}

// timelineClock goes along a timeline, a millisecond of the wall at a time.
type timelineClock struct {
	*clockwork.FakeClock
	mu   sync.Mutex
	line timeline // guarded by mu
}

// newTimelineClock returns a clock that goes until the test ends.
func newTimelineClock(t *testing.T, line timeline) *timelineClock {
	t.Helper()
	c := &timelineClock{line: line, FakeClock: clockwork.NewFakeClockAt(line.at(time.Now()))}
	stop := make(chan struct{})
	var going sync.WaitGroup
	going.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				c.mu.Lock()
				by := c.line.at(time.Now()).Sub(c.Now())
				c.mu.Unlock()
				if by > 0 {
					c.Advance(by)
				}
			}
		}
	})
	t.Cleanup(func() { close(stop); going.Wait() })
	return c
}

func (c *timelineClock) leap(l leap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line.Leaps = append(c.line.Leaps, l)
}

func (c *timelineClock) timeline() timeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.line
}
