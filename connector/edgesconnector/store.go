package edgesconnector

import (
	"bytes"
	"context"
	"crypto/rand"
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
	// epoch names the journal, and the state that it goes on from: no journal that was given
	// up is ever taken for it, whatever of it is left.
	epoch string
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

// journalKey is what an entry is stored by. summedByReporter has no epochs.
func journalKey(epoch string, n int64) string {
	if epoch == "" {
		return fmt.Sprintf("journal/%d", n)
	}
	return fmt.Sprintf("journal/%s/%d", epoch, n)
}

// stored is a state as it is stored.
type stored struct {
	// Epoch names its journal.
	Epoch string
	State *state
}

// storedHead is the part of what is stored that can be read whatever the version: gob leaves
// out what it is not asked for.
type storedHead struct {
	Epoch string
	// Journal is the number of the journal's first entry, in summedByReporter.
	Journal int64
	State   struct{ Version int }
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
// and a state together mean that the last of it cannot. A state of summedByReporter is not
// migrated yet.
func (s *store) load(ctx context.Context) (*state, error) {
	if s.client == nil {
		return nil, nil
	}
	b, err := s.client.Get(ctx, snapshotKey)
	if err != nil || b == nil {
		return nil, err
	}
	var head storedHead
	if err := decode(b, &head); err != nil {
		return nil, err
	}
	s.snapshot, s.epoch, s.first, s.next = len(b), head.Epoch, head.Journal, head.Journal
	st, failed := stateIn(b, head.State.Version)
	// The journal is read to its end even if it cannot be replayed, so that all is deleted.
	for {
		b, err := s.client.Get(ctx, journalKey(s.epoch, s.next))
		if b == nil || err != nil {
			return st, errors.Join(failed, err)
		}
		s.next++
		s.journal += len(b)
		if failed == nil {
			failed = st.replayStored(b)
		}
	}
}

// stateIn returns the state in a snapshot, ready for its journal.
func stateIn(b []byte, version int) (*state, error) {
	if version != stateVersion && version != summedByReporter {
		return nil, errOtherVersion
	}
	var kept stored
	if err := decode(b, &kept); err != nil {
		return nil, err
	}
	kept.State.restore()
	return kept.State, nil
}

func decode(b []byte, to any) error { return gob.NewDecoder(bytes.NewReader(b)).Decode(to) }

// replayStored replays an entry as it is stored.
func (s *state) replayStored(b []byte) error {
	if s.Version == stateVersion {
		var err error
		if b, err = unsealed(b); err != nil {
			return err
		}
	}
	return s.replay(b)
}

// write stores an entry, by which st has become what it is.
func (s *store) write(ctx context.Context, e *entry, st *state) error {
	switch {
	case s.client == nil:
		return nil
	case s.broken || s.journal+len(e.b) > max(leastJournal, s.snapshot):
		return s.save(ctx, st)
	}
	if err := s.client.Set(ctx, journalKey(s.epoch, s.next), e.sealed()); err != nil {
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
	epoch := rand.Text()
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(stored{epoch, st}); err != nil {
		return err
	}
	ops := []*storage.Operation{storage.SetOperation(snapshotKey, b.Bytes())}
	for n := s.first; n <= s.next; n++ { // one that failed may be there
		ops = append(ops, storage.DeleteOperation(journalKey(s.epoch, n)))
	}
	if err := s.client.Batch(ctx, ops...); err != nil {
		return err
	}
	s.epoch, s.first, s.next, s.journal, s.snapshot, s.broken = epoch, 0, 0, 0, b.Len(), false
	return nil
}

func (s *store) close(ctx context.Context) error {
	if s.client == nil {
		return nil
	}
	return s.client.Close(ctx)
}
