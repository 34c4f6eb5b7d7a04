package svcidprocessor

import "strings"

const (
	// maxInterned bounds the entries of an interner or a memo. Kubernetes supports 5,000
	// nodes a cluster, which are the hosts; network sets and labelled Services come to
	// hundreds.
	maxInterned = 8192
	// maxInternedLen is in bytes. What is longer is no name that Kubernetes allows (253
	// for a name or a label key's prefix, 63 for a namespace or label) and is not held.
	maxInternedLen = 512
)

// interner makes strings of parts, and allocates each only once. It starts anew when it
// is full, so names that are gone do not stay. Not safe for concurrent use.
type interner struct {
	buf  []byte
	seen map[string]string
}

// join returns the concatenation of parts.
func (in *interner) join(parts ...string) string {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > maxInternedLen {
		return strings.Join(parts, "")
	}
	in.buf = in.buf[:0]
	for _, p := range parts {
		in.buf = append(in.buf, p...)
	}
	if s, ok := in.seen[string(in.buf)]; ok { // does not allocate
		return s
	}
	if in.seen == nil {
		in.seen = make(map[string]string)
	} else if len(in.seen) >= maxInterned {
		clear(in.seen)
	}
	s := string(in.buf)
	in.seen[s] = s
	return s
}
