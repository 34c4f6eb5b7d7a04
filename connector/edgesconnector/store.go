package edgesconnector

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/goldtrail/goldtrail/internal/storageclient"
)

// store keeps a state: as it was once, and a journal of what has changed it since. The
// journal is given up for a new state when it is as large as one, so that a state is
// written about once for each of its bytes that changes.
type store struct {
	client storage.Client // nil keeps nothing
	// next is the number of the next entry, and first that of the oldest.
	first, next int64
	// journal and snapshot are the sizes of both, in bytes.
	journal, snapshot int
	// broken: an entry could not be written, and none may be until a state is.
	broken bool
}

// leastJournal is how large a journal grows in any case, in bytes.
const leastJournal = 1 << 20

const snapshotKey = "state"

func journalKey(n int64) string { return fmt.Sprintf("journal/%d", n) }

// stored is a state as it is stored.
type stored struct {
	// Journal is the number of the first entry that is not in it.
	Journal int64
	State   *state
}

// openStore returns the store in the storage extension of that name, or one that keeps
// nothing where id is nil.
func openStore(ctx context.Context, host component.Host, id *component.ID, self component.ID) (*store, error) {
	client, err := storageclient.Open(ctx, host, id, component.KindConnector, self)
	if err != nil {
		return nil, err
	}
	return &store{client: client}, nil
}

// errOtherVersion is returned by load for a state of another version.
var errOtherVersion = errors.New("it is of another version")

// load returns what is stored, nil where nothing is, as far as it can be read: an error
// and a state together mean that the last of it cannot.
func (s *store) load(ctx context.Context) (*state, error) {
	if s.client == nil {
		return nil, nil
	}
	b, err := s.client.Get(ctx, snapshotKey)
	if err != nil || b == nil {
		return nil, err
	}
	var kept stored
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&kept); err != nil {
		return nil, err
	}
	s.snapshot, s.first, s.next = len(b), kept.Journal, kept.Journal
	if kept.State == nil || kept.State.Version != stateVersion {
		return nil, errOtherVersion
	}
	kept.State.restore()
	for {
		b, err := s.client.Get(ctx, journalKey(s.next))
		if err != nil {
			return kept.State, err
		}
		if b == nil {
			return kept.State, nil
		}
		s.next++
		s.journal += len(b)
		if err := kept.State.replay(b); err != nil {
			return kept.State, err
		}
	}
}

// write stores an entry, by which st has become what it is.
func (s *store) write(ctx context.Context, e *entry, st *state) error {
	switch {
	case s.client == nil:
		return nil
	case s.broken || s.journal+len(e.b) > max(leastJournal, s.snapshot):
		return s.save(ctx, st)
	}
	if err := s.client.Set(ctx, journalKey(s.next), e.b); err != nil {
		s.broken = true
		return err
	}
	s.next++
	s.journal += len(e.b)
	return nil
}

// save stores a state, and gives up the journal.
func (s *store) save(ctx context.Context, st *state) error {
	if s.client == nil {
		return nil
	}
	s.broken = true
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(stored{s.next, st}); err != nil {
		return err
	}
	ops := []*storage.Operation{storage.SetOperation(snapshotKey, b.Bytes())}
	for n := s.first; n < s.next; n++ {
		ops = append(ops, storage.DeleteOperation(journalKey(n)))
	}
	if err := s.client.Batch(ctx, ops...); err != nil {
		return err
	}
	s.first, s.journal, s.snapshot, s.broken = s.next, 0, b.Len(), false
	return nil
}

func (s *store) close(ctx context.Context) error {
	if s.client == nil {
		return nil
	}
	return s.client.Close(ctx)
}
