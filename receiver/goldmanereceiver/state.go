package goldmanereceiver

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/storageclient"
)

// stateVersion is the version of state's form.
const stateVersion = 3

// state is where the receiver stands: what it would have to know after a crash. It is
// stored after the pipeline has taken what it speaks of.
type state struct {
	Version int `json:"version"`
	// Window is the length of the windows, in seconds.
	Window int64 `json:"window"`
	// Next is the start of the first window that was not tried yet.
	Next int64 `json:"next"`
	// Open are windows before Next that could not be read yet, in order.
	Open []int64 `json:"open,omitempty"`
	// Held are the windows that were listed and are not done with, in order. Each has parts
	// in the storage.
	Held []held `json:"held,omitempty"`
	// Doing is the step that is being taken: after a crash it is taken again, first.
	Doing *step `json:"doing,omitempty"`
	// Evidence are sealed windows and how many rows they had: a Goldmane that has fewer
	// has lost its ring. In order.
	Evidence []evidence `json:"evidence,omitempty"`
	// Resent are the windows that nodes sent again after Goldmane's last restart.
	Resent resent `json:"resent"`
	// Owed is the start of the first window that the trail is to account for: the first
	// that was read, or else the one in which the receiver was first started. What
	// Goldmane had before is welcome, and not missed.
	Owed int64 `json:"owed"`
	// Silence is since when nodes have been silent.
	Silence silence `json:"silence"`
	// Alive is when the receiver last ran, to within a window.
	Alive time.Time `json:"alive"`
	// Blocked is the longest spell of the last hour in which the pipeline refused.
	Blocked spell `json:"blocked"`
	// Lost is decided and not handed on yet. In order.
	Lost []lostRun `json:"lost,omitempty"`
}

// lostRun is a run of windows that can never be read.
type lostRun struct {
	flowlog.Gap
	// Said: it is being handed on, and must not change any more.
	Said bool `json:"said,omitempty"`
}

type evidence struct {
	Start int64 `json:"start"`
	Rows  int   `json:"rows"`
}

// resent are the windows from From up to and not including To, which are whole again at
// Due, as far as anybody can say.
type resent struct {
	From int64     `json:"from"`
	To   int64     `json:"to"`
	Due  time.Time `json:"due"`
}

// spell is a time from Since up to Until.
type spell struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

func (s spell) length() time.Duration { return s.Until.Sub(s.Since) }

func (s spell) has(t time.Time) bool { return !t.Before(s.Since) && !t.After(s.Until) }

// common is how long both last, negative where they do not meet.
func (s spell) common(with spell) time.Duration {
	until := s.Until
	if with.Until.Before(until) {
		until = with.Until
	}
	return until.Sub(later(s.Since, with.Since))
}

func (s resent) has(start int64) bool { return s.From <= start && start < s.To }

// unread reports whether the window is still to be read.
func (s *state) unread(start int64) bool {
	return start >= s.Next || slices.Contains(s.Open, start)
}

// held returns a held window, nil where it is not held.
func (s *state) held(start int64) *held {
	i, ok := slices.BinarySearchFunc(s.Held, start, func(h held, start int64) int { return cmp.Compare(h.Start, start) })
	if !ok {
		return nil
	}
	return &s.Held[i]
}

// hold adds a held window.
func (s *state) hold(h held) {
	i, _ := slices.BinarySearchFunc(s.Held, h.Start, func(h held, start int64) int { return cmp.Compare(h.Start, start) })
	s.Held = slices.Insert(s.Held, i, h)
}

// clone is a copy that shares nothing.
func (s *state) clone() *state {
	c := *s
	c.Open, c.Held = slices.Clone(s.Open), slices.Clone(s.Held)
	c.Evidence, c.Lost = slices.Clone(s.Evidence), slices.Clone(s.Lost)
	return &c
}

// store keeps the state and the ledgers.
type store struct {
	client storage.Client
	logger *zap.Logger
	// keeps is false where there is no storage.
	keeps bool
}

const stateKey = "state"

// openStore returns the store in the storage extension of that name, or one that keeps
// nothing where id is nil.
func openStore(ctx context.Context, host component.Host, id *component.ID, self component.ID, logger *zap.Logger) (*store, error) {
	client, err := storageclient.Open(ctx, host, id, component.KindReceiver, self)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return &store{client: storage.NewNopClient(), logger: logger}, nil
	}
	return &store{client: client, logger: logger, keeps: true}, nil
}

// load returns the stored state, or nil where there is none that can be used.
func (s *store) load(ctx context.Context, window int64) *state {
	b, err := s.client.Get(ctx, stateKey)
	if err != nil {
		s.logger.Error("Cannot read the cursor; reading begins anew, and records of the last hour may repeat", zap.Error(err))
		return nil
	}
	if b == nil {
		return nil
	}
	var st state
	if err := json.Unmarshal(b, &st); err != nil {
		s.logger.Error("Cannot understand the stored cursor; reading begins anew, and records of the last hour may repeat", zap.Error(err))
		return nil
	}
	switch {
	case st.Window == window && st.Version == stateVersion:
		return &st
	case st.Window == window && st.Version == stateBefore:
		if err := s.upgrade(ctx, b, &st); err != nil {
			s.logger.Error("Cannot understand all of the cursor that an older version has stored", zap.Error(err))
		}
		return &st
	}
	s.logger.Warn("The stored cursor is of another version or another 'window'; reading begins anew, and records of the last hour may repeat",
		zap.Int("version", st.Version), zap.Int64("window", st.Window))
	return nil
}

// save stores the state, and with it, in one transaction, what further operations say.
// A failure is logged, and reported: the receiver goes on, and a crash would repeat more
// than it should.
func (s *store) save(ctx context.Context, st *state, more ...*storage.Operation) (saved bool) {
	b, err := json.Marshal(st)
	if err == nil {
		// What has been handed on is noted even while the receiver is being shut down.
		err = s.client.Batch(context.WithoutCancel(ctx), append(more, storage.SetOperation(stateKey, b))...)
	}
	if err != nil {
		s.logger.Error("Cannot store the cursor; a restart would repeat records", zap.Error(err))
	}
	return err == nil && s.keeps
}
