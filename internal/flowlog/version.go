package flowlog

import (
	"errors"
	"fmt"
	"strings"
)

// Version is the first word of every line of the trail, and the version of its format.
const Version = "v2"

// ErrVersion is returned, wrapped, for a line that does not begin with Version: one of
// another version of the trail's format, or of no trail. Its meaning is not known.
var ErrVersion = errors.New("not of version " + Version + " of the trail's format")

func appendVersion(b []byte) []byte { return append(b, Version+" "...) }

// withoutVersion returns the line behind its first word, which must be Version.
func withoutVersion(s string) (string, error) {
	rest, ok := strings.CutPrefix(s, Version+" ")
	if !ok {
		return "", fmt.Errorf("%w: it begins with %.20q", ErrVersion, s)
	}
	return rest, nil
}
