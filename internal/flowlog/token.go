package flowlog

import (
	"errors"
	"strconv"
	"strings"
)

// The line's fields are tokens: never empty, never holding a blank. Names from
// Kubernetes and Calico already are that; anything else is escaped, so that odd
// input cannot forge a field.

// empty stands for a value that is not there. Calico uses the same sign.
const empty = "-"

const hexDigits = "0123456789ABCDEF"

// escapes is a set of characters that a token must not hold as they are.
type escapes uint8

const (
	escapeAlways escapes = 1 << iota // blanks, control characters, commas, percent signs
	escapeSlash
	escapeColon
	escapeHit // # and =
)

// escaped says of every character which sets it is in. A table, because the hot path
// asks for every character of every name.
var escaped = func() (sets [256]escapes) {
	for c := range 0x21 {
		sets[c] = escapeAlways
	}
	for c, set := range map[byte]escapes{
		0x7f: escapeAlways, '%': escapeAlways, ',': escapeAlways,
		'/': escapeSlash, ':': escapeColon, '#': escapeHit, '=': escapeHit,
	} {
		sets[c] = set
	}
	return sets
}()

// appendToken appends s to b with the characters of escapeAlways and also written as
// %XX, and "-" for an empty s.
func appendToken(b []byte, s string, also escapes) []byte {
	also |= escapeAlways
	if s == "" {
		return append(b, empty...)
	}
	for i := 0; i < len(s); i++ {
		if escaped[s[i]]&also == 0 {
			continue
		}
		b = append(b, s[:i]...)
		for ; i < len(s); i++ {
			if c := s[i]; escaped[c]&also != 0 {
				b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
			} else {
				b = append(b, c)
			}
		}
		return b
	}
	return append(b, s...)
}

// appendOrEmpty appends s, which is a token already, or the sign for nothing.
func appendOrEmpty(b []byte, s string) []byte {
	if s == "" {
		s = empty
	}
	return append(b, s...)
}

// errEscape is returned by ParseLine for a "%" that no two hexadecimal digits follow.
var errEscape = errors.New("a % must be followed by two hexadecimal digits")

// parseToken undoes appendToken. It returns s itself where nothing is escaped.
func parseToken(s string) (string, error) {
	if s == empty {
		return "", nil
	}
	first := strings.IndexByte(s, '%')
	if first < 0 {
		return s, nil
	}
	b := append(make([]byte, 0, len(s)), s[:first]...)
	for i := first; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errEscape
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errEscape
		}
		b = append(b, byte(c))
		i += 2
	}
	return string(b), nil
}
