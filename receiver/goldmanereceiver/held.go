package goldmanereceiver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/klauspost/compress/s2"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// held is a window that was listed, and of which not all has been said, or whose reports
// its neighbours are decided by. A window goes through four steps:
//
//  1. It is listed, settle_delay after its start.
//  2. When the windows within reach have been listed, it is decided: what can be decided is
//     handed on, with the first coverage record.
//  3. It is listed again, recheck_delay after its start.
//  4. When the windows within reach have been listed again, it is concluded: what was
//     withheld and what has come late is handed on, with the final coverage record.
//
// What is needed from one step to the next is in the storage, so that a crash in the middle
// of a step repeats it exactly: each step is a function of what is stored.
type held struct {
	Start int64 `json:"start"`
	// Again: it is to be listed again.
	Again bool `json:"again,omitempty"`
	// Decided and Concluded are the steps that are done.
	Decided   bool `json:"decided,omitempty"`
	Concluded bool `json:"concluded,omitempty"`
	// Rejected: the pipeline has rejected records of it for good.
	Rejected bool `json:"rejected,omitempty"`
	// Known is what is known of it so far.
	Known flowlog.Coverage `json:"known"`
}

// parts are what is kept of a held window, in memory and in the storage: Goldmane's answers
// compressed, no flows.
type parts struct {
	// pairs is what was reported.
	pairs pairs
	// answer is what the first listing answered, until the window is decided.
	answer []byte
	// ledger is what the first listing had, from then on until the window is listed again;
	// and after that what of it is to be subtracted.
	ledger []byte
	// rest are the rows that are still to be handed on.
	rest []byte
	// away: answer, ledger and rest are in the storage, and not here. Windows of 50,000
	// flows would take 1.1 MB each for six minutes, and 5.7 MB until they are decided.
	away bool
}

// putAway drops from memory what has been stored.
func (p *parts) putAway(stored bool) {
	if p.away = stored; stored {
		p.answer, p.ledger, p.rest = nil, nil, nil
	}
}

// fetch brings back what was put away. What is gone is said, and the window is no longer
// taken for whole.
func (r *goldmaneReceiver) fetch(ctx context.Context, h *held) *parts {
	p := r.parts[h.Start]
	if !p.away {
		return p
	}
	p.away = false
	whole := true
	for part, to := range map[string]*[]byte{answerPart: &p.answer, ledgerPart: &p.ledger, restPart: &p.rest} {
		b, ok := r.store.get(ctx, part, h.Start)
		*to, whole = b, whole && ok
	}
	if !h.Decided && p.answer == nil && h.Known.Flows > 0 || p.rest == nil && h.Known.Withheld > 0 {
		r.store.unreadable("rows", h.Start, errKept)
		whole = false
	}
	if !whole {
		doubt(&h.Known, flowlog.CauseNotRechecked)
	}
	return p
}

// Keys of a window's parts in the storage.
const (
	pairsPart  = "pairs"
	answerPart = "answer"
	ledgerPart = "ledger"
	restPart   = "rest"
)

func partKey(part string, start int64) string { return fmt.Sprintf("%s/%d", part, start) }

// put returns the operation that stores a part as it is now, or removes it.
func put(part string, start int64, value []byte) *storage.Operation {
	if value == nil {
		return storage.DeleteOperation(partKey(part, start))
	}
	return storage.SetOperation(partKey(part, start), value)
}

// errKept is returned by uncompressed for bytes that compressed did not write.
var errKept = errors.New("what is kept of an answer is damaged")

// compressBlock is how much is compressed at a time, in bytes: as a whole an answer would
// take as much room once more.
const compressBlock = 256 << 10

// compressed is an answer as it is kept: its length, and its blocks, each with its length.
// 86 to 115 bytes a flow, at 1 µs each (BenchmarkCompress).
func compressed(a answer) []byte {
	kept := binary.AppendUvarint(make([]byte, 0, len(a.text)/4), uint64(len(a.text)))
	room := make([]byte, s2.MaxEncodedLen(min(compressBlock, len(a.text))))
	text := unsafe.Slice(unsafe.StringData(a.text), len(a.text)) //nolint:gosec // it is only read
	for len(text) > 0 {
		n := min(compressBlock, len(text))
		block := s2.Encode(room, text[:n])
		kept = append(binary.AppendUvarint(kept, uint64(len(block))), block...)
		text = text[n:]
	}
	return slices.Clone(kept)
}

// uncompressed undoes compressed; of nothing it makes an empty answer.
func uncompressed(kept []byte) (answer, error) {
	if len(kept) == 0 {
		return answer{}, nil
	}
	size, n := binary.Uvarint(kept)
	if n <= 0 || size > uint64(len(kept))*mostCompression {
		return answer{}, errKept
	}
	text := make([]byte, 0, size)
	for kept = kept[n:]; len(kept) > 0; {
		length, n := binary.Uvarint(kept)
		if n <= 0 || length > uint64(len(kept)-n) {
			return answer{}, errKept
		}
		block := kept[n : n+int(length)]
		kept = kept[n+int(length):]
		decoded, err := s2.DecodedLen(block)
		if err != nil || len(text)+decoded > int(size) {
			return answer{}, errors.Join(errKept, err)
		}
		to := text[len(text) : len(text)+decoded]
		if _, err := s2.Decode(to, block); err != nil {
			return answer{}, errors.Join(errKept, err)
		}
		text = text[:len(text)+decoded]
	}
	if len(text) != int(size) {
		return answer{}, errKept
	}
	return answer{unsafe.String(unsafe.SliceData(text), len(text))}, nil //nolint:gosec // text is not written any more
}

// mostCompression bounds what damaged bytes can ask for: s2's copies are of 64 KB at most
// in three bytes.
const mostCompression = 32 << 10

// partsOf reads what is stored of a window. What cannot be read is said, and left out; whole
// is false where that is the answer of a window that is not decided.
func (s *store) partsOf(ctx context.Context, h *held) (p *parts, whole bool) {
	p = &parts{}
	p.answer, _ = s.get(ctx, answerPart, h.Start)
	p.ledger, _ = s.get(ctx, ledgerPart, h.Start)
	p.rest, _ = s.get(ctx, restPart, h.Start)
	reports, _ := s.get(ctx, pairsPart, h.Start)
	var err error
	if p.pairs, err = decodePairs(reports); err != nil {
		s.unreadable(pairsPart, h.Start, err)
	}
	if h.Decided {
		return p, true
	}
	a, err := uncompressed(p.answer)
	var reported pairs
	if err == nil {
		reported, _, err = pairsOf(h.Start, a)
	}
	// Of a window without flows there is no answer.
	if err != nil || p.answer == nil && h.Known.Flows > 0 {
		s.unreadable(answerPart, h.Start, err)
		return p, false
	}
	if !p.pairs.known {
		p.pairs = reported
	}
	return p, true
}

// get reads a part, nil where there is none. What cannot be read is said, and not ok.
func (s *store) get(ctx context.Context, part string, start int64) (b []byte, ok bool) {
	b, err := s.client.Get(ctx, partKey(part, start))
	if err != nil {
		s.unreadable(part, start, err)
	}
	return b, err == nil
}

func (s *store) unreadable(part string, start int64, err error) {
	s.logger.Error("Cannot read what is kept of a window", zap.String("part", part), zap.Int64("window", start), zap.Error(err))
}
