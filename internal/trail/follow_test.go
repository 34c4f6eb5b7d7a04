package trail

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// followed runs a Follow that a test moves on tick by tick.
type followed struct {
	t     *testing.T
	clock *clockwork.FakeClock
	told  chan string
	ended chan error
}

func follow(t *testing.T, m *memory, now int64, patience time.Duration) *followed {
	t.Helper()
	f := &followed{t, clockwork.NewFakeClockAt(time.Unix(now, 0)), make(chan string, 1000), make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	q := &FollowQuestion{Patience: patience, Trouble: func(err error) {
		if err == nil {
			f.told <- "answers again"
		} else {
			f.told <- "trouble: " + err.Error()
		}
	}}
	trail := &Trail{Source: m, Clock: f.clock}
	go func() {
		f.ended <- trail.Follow(ctx, q, func(w *Followed) error {
			if w.Window.Status != flowlog.StatusComplete {
				f.told <- w.Window.Status + " " + w.Window.From.Format(time.TimeOnly) + " " + w.Window.Cause
			}
			if w.Unreadable > 0 {
				f.told <- fmt.Sprintf("%d unreadable %s", w.Unreadable, w.Window.From.Format(time.TimeOnly))
			}
			for _, flow := range sources(w.Flows) {
				f.told <- flow
			}
			return nil
		})
		close(f.ended)
	}()
	t.Cleanup(func() {
		cancel()
		for range f.ended { // it is waited for
		}
	})
	require.NoError(t, f.clock.BlockUntilContext(ctx, 1), "the first look")
	return f
}

// tick waits until the next look is over, and returns what was told.
func (f *followed) tick() (told []string) {
	f.t.Helper()
	f.clock.Advance(followEvery)
	require.NoError(f.t, f.clock.BlockUntilContext(f.t.Context(), 1))
	for {
		select {
		case text := <-f.told:
			told = append(told, text)
		default:
			return told
		}
	}
}

// The Collector is away for half an hour. What it reads late it looks at once only, so
// that there is no other record of those windows than the final one.
func TestFollowTellsOfWindowsThatAreReadLate(t *testing.T) {
	m := &memory{}
	now := at(t, "07:00:00")
	for start := now - 3600; start < now-60; start += defaultWindow {
		m.flow(start, "old", false)
		m.covered(start, 1, 0, false)
		if start < now-360 {
			m.covered(start, 0, 0, true)
		}
	}
	f := follow(t, m, now, 0)
	assert.Empty(t, f.tick(), "what was there before")

	f.clock.Advance(30 * time.Minute)
	require.NoError(t, f.clock.BlockUntilContext(t.Context(), 1))
	var want []string
	for start := now - 60; start < now+1800-60; start += defaultWindow {
		m.flow(start, "new", false)
		m.covered(start, 1, 0, start < now+1800-360)
		want = append(want, time.Unix(start, 0).UTC().Format(time.TimeOnly)+" new")
	}
	// And a word on what was read before it went away, of which one window had a straggler.
	for start := now - 360; start < now-60; start += defaultWindow {
		late := int64(0)
		if start == now-300 {
			late = 1
			m.flow(start, "straggler", true)
		}
		m.covered(start, late, late, true)
	}
	want = append([]string{"06:55:00 straggler"}, want...)
	assert.Equal(t, want, f.tick())
	assert.Empty(t, f.tick(), "nothing is told twice")

	gap := flowlog.Gap{From: now + 1740, To: now + 1755, Window: defaultWindow, Cause: flowlog.CauseReceiverDown}
	m.write(flowlog.StreamCoverage, gap.WriteTo)
	assert.Equal(t, []string{"missing 07:29:00 receiver_down"}, f.tick())
}

// A straggler that is there before its window is looked at for the first time is told once.
func TestFollowTellsStragglersOnce(t *testing.T) {
	m := &memory{}
	now := at(t, "07:00:00")
	m.covered(now-120, 1, 0, false)
	f := follow(t, m, now, 0)
	m.flow(now-105, "punctual", false)
	m.flow(now-105, "straggler", true)
	m.covered(now-105, 1, 1, true)
	m.covered(now-105, 1, 0, false)
	assert.Equal(t, []string{"06:58:15 punctual", "06:58:15 straggler"}, f.tick())
}

// A receiver that is new reads what Goldmane has kept, of which some was there at the start.
func TestFollowTellsOfWhatIsOlderThanTheTrailWas(t *testing.T) {
	m := &memory{}
	now := at(t, "07:00:00")
	m.covered(now-120, 1, 0, false)
	f := follow(t, m, now, 0)
	m.flow(now-1800, "older", false)
	m.covered(now-1800, 1, 0, true)
	assert.Equal(t, []string{"06:30:00 older"}, f.tick())
}

// Looking back an hour at every tick would be ten times as much.
func TestFollowAsksForWhatIsNotFinal(t *testing.T) {
	m := &memory{}
	now := at(t, "07:00:00")
	for start := now - 2*3600; start < now-60; start += defaultWindow {
		m.covered(start, 1, 0, start < now-360)
	}
	f := follow(t, m, now, 0)
	f.tick()
	reads := m.reads()
	last := reads[len(reads)-1].Spans
	require.Len(t, last, 1)
	assert.Equal(t, time.Unix(now-360, 0), last[0].From)
}

func TestFollowOutlivesARestartOfLoki(t *testing.T) {
	m := &memory{}
	now := at(t, "07:00:00")
	m.covered(now-120, 1, 0, false)
	f := follow(t, m, now, time.Minute)
	m.fail(&UnreachableError{"http://loki", errors.New("refused")})
	assert.Equal(t, []string{"trouble: no answer from Loki: refused"}, f.tick())
	assert.Empty(t, f.tick(), "it is said once")
	m.fail(&StatusError{http.StatusServiceUnavailable, "starting"})
	assert.Empty(t, f.tick())
	m.flow(now-105, "new", false)
	m.covered(now-105, 1, 0, false)
	m.fail(nil)
	assert.Equal(t, []string{"06:58:15 new", "answers again"}, f.tick())

	// But not for ever.
	m.fail(&UnreachableError{"http://loki", errors.New("refused")})
	f.tick()
	f.clock.Advance(time.Minute)
	var unreachable *UnreachableError
	require.ErrorAs(t, <-f.ended, &unreachable)
}

func TestFollowEndsAtARefusal(t *testing.T) {
	m := &memory{}
	f := follow(t, m, at(t, "23:59:30"), time.Minute)
	m.fail(&StatusError{http.StatusUnauthorized, "no"})
	f.clock.Advance(followEvery)
	var refused *StatusError
	require.ErrorAs(t, <-f.ended, &refused)
}
