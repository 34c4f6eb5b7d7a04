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

// needsEscape reports whether a token must not hold c as it is. also lists the
// separators of the field that the token stands in.
func needsEscape(c byte, also string) bool {
	return c <= ' ' || c == 0x7f || c == '%' || c == ',' || strings.IndexByte(also, c) >= 0
}

// appendToken appends s to b with blanks, control characters, commas, percent
// signs and the characters in also written as %XX, and "-" for an empty s.
func appendToken(b []byte, s, also string) []byte {
	if s == "" {
		return append(b, empty...)
	}
	for i := 0; i < len(s); i++ {
		if !needsEscape(s[i], also) {
			continue
		}
		b = append(b, s[:i]...)
		for ; i < len(s); i++ {
			if c := s[i]; needsEscape(c, also) {
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
