// Package labelglob chooses endpoint labels by globs of their keys: which the receiver
// passes on, and which the processor leaves on a record.
package labelglob

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// memory bounds a Filter's memo: keys, and bytes of one. A cluster has some hundred
// label keys, none longer than the 317 bytes that Kubernetes allows.
const (
	memoryKeys  = 4096
	memoryBytes = 320
)

// ErrGlob is returned by Valid, and wrapped by Compile, for a text that is no glob of label keys.
var ErrGlob = errors.New(`must be made of the characters of a label key, '*' and '?'; write alternatives as entries of their own, and "*" for every label`)

// allowed is what a glob of label keys is made of: the characters of a key, `*`, `?`.
var allowed = regexp.MustCompile(`^[-A-Za-z0-9_./*?]+$`)

// Set matches the label keys that any of its globs matches. It is safe for concurrent
// use. The zero value matches none.
type Set struct {
	all     bool
	pattern *regexp.Regexp // nil: none, or all
}

// Valid returns ErrGlob where glob is no glob of label keys.
func Valid(glob string) error {
	if !allowed.MatchString(glob) {
		return ErrGlob
	}
	return nil
}

// Compile makes a Set of globs. In a glob `*` stands for any text, the '/' of
// app.kubernetes.io/name included, and `?` for one character.
//
// It makes regular expressions because the glob library that the Collector's confmap
// pins, gobwas/glob v0.2.3, panics while matching an unclosed `{` (gobwas/glob#59) and
// lets `a*a` match "a". Its mended v1 has another API, which confmap does not compile
// with.
func Compile(globs []string) (*Set, error) {
	alternatives := make([]string, len(globs))
	for i, glob := range globs {
		if err := Valid(glob); err != nil {
			return nil, fmt.Errorf("%q %w", glob, err)
		}
		if glob == "*" {
			return &Set{all: true}, nil
		}
		alternatives[i] = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(glob))
	}
	if len(globs) == 0 {
		return &Set{}, nil
	}
	pattern, err := regexp.Compile(`^(?s:` + strings.Join(alternatives, "|") + `)$`)
	return &Set{pattern: pattern}, err
}

// All reports whether the set matches every key.
func (s *Set) All() bool { return s.all }

// None reports whether the set matches no key at all.
func (s *Set) None() bool { return !s.all && s.pattern == nil }

func (s *Set) match(key string) bool {
	return s.all || s.pattern != nil && s.pattern.MatchString(key)
}

// Filter is a Set that remembers its answers. It is not safe for concurrent use.
type Filter struct {
	*Set
	memo map[string]bool
}

// Filter returns a Filter of s with a memory of its own.
func (s *Set) Filter() Filter { return Filter{Set: s, memo: map[string]bool{}} }

// Keeps reports whether one of the globs matches key.
func (f *Filter) Keeps(key string) bool {
	if f.all {
		return true
	}
	if kept, ok := f.memo[key]; ok {
		return kept
	}
	kept := f.match(key)
	if len(key) > memoryBytes {
		return kept
	}
	if len(f.memo) >= memoryKeys {
		clear(f.memo)
	}
	f.memo[strings.Clone(key)] = kept // a clone, so that the record is not held with it
	return kept
}
