package edgesconnector

import (
	"encoding/binary"
	"errors"
)

// keySet is a set of hashes, in 11 to 21 bytes each. The zero value is empty.
type keySet struct {
	slots []uint64 // a power of two of them; 0 is a free one
	n     int
	zero  bool // whether 0 is in the set
}

// add reports whether key was not in the set before.
func (s *keySet) add(key uint64) bool {
	if key == 0 {
		added := !s.zero
		s.zero = true
		return added
	}
	if s.n*4 >= len(s.slots)*3 {
		s.grow()
	}
	if !s.put(key) {
		return false
	}
	s.n++
	return true
}

func (s *keySet) put(key uint64) bool {
	mask := uint64(len(s.slots) - 1)
	for i := key & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case key:
			return false
		case 0:
			s.slots[i] = key
			return true
		}
	}
}

func (s *keySet) grow() {
	before := s.slots
	s.slots = make([]uint64, max(8, 2*len(before)))
	for _, key := range before {
		if key != 0 {
			s.put(key)
		}
	}
}

// GobEncode implements gob.GobEncoder.
func (s *keySet) GobEncode() ([]byte, error) {
	b := make([]byte, 0, 8*s.n+8)
	for _, key := range s.slots {
		if key != 0 {
			b = binary.LittleEndian.AppendUint64(b, key)
		}
	}
	if s.zero {
		b = binary.LittleEndian.AppendUint64(b, 0)
	}
	return b, nil
}

// GobDecode implements gob.GobDecoder.
func (s *keySet) GobDecode(b []byte) error {
	if len(b)%8 != 0 {
		return errors.New("a set of keys must have 8 bytes for each")
	}
	*s = keySet{}
	for ; len(b) > 0; b = b[8:] {
		s.add(binary.LittleEndian.Uint64(b))
	}
	return nil
}

// bits is a set of small numbers. The zero value is empty.
type bits []uint64

func (s bits) has(i uint32) bool {
	return int(i/64) < len(s) && s[i/64]&(1<<(i%64)) != 0
}

// add reports whether i was not in the set before.
func (s *bits) add(i uint32) bool {
	if s.has(i) {
		return false
	}
	for int(i/64) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[i/64] |= 1 << (i % 64)
	return true
}
