package flowlog

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotCoverage is returned by ParseCoverage and ParseGap, wrapped, for a text that the
// record's WriteTo did not write.
var ErrNotCoverage = errors.New("not the line of a coverage or gap record")

const (
	coverageWord = "window"
	gapWord      = "gap"
	gapText      = Version + " " + gapWord + " "
)

var (
	coverageWords = [...]fixedWord{{0, coverageWord}, {5, "cause"}, {7, "flows"}, {9, "records"}, {11, "late"}, {13, "merged"}, {15, "discarded"}, {17, "raised"}, {19, "withheld"}, {21, "pairs"}, {23, "one_sided"}}
	gapWords      = [...]fixedWord{{0, gapWord}, {3, StatusMissing}, {5, "cause"}, {7, "windows"}}
)

// IsGap reports whether the line of an entry of StreamCoverage is a gap's.
func IsGap(s string) bool { return strings.HasPrefix(s, gapText) }

// ParseCoverage reads the line of a coverage record. The strings alias s.
func ParseCoverage(s string) (Coverage, error) {
	var c Coverage
	var fields [25]string
	err := splitLine(s, fields[:], coverageWords[:])
	if err == nil {
		c.Status, c.Final, c.Cause = fields[3], fields[4] == stageOf(true), orEmpty(fields[6])
		err = errors.Join(
			parseTime(fields[1], &c.Start),
			parseTime(fields[2], &c.End),
			parseCounts(fields[8], &c.Flows),
			parseCounts(fields[10], &c.Records),
			parseCounts(fields[12], &c.Late),
			parseCounts(fields[14], &c.Merged),
			parseCounts(fields[16], &c.Discarded),
			parseCounts(fields[18], &c.Raised),
			parseCounts(fields[20], &c.Withheld),
			parseCounts(fields[22], &c.Pairs),
			parseCounts(fields[24], &c.OneSided),
		)
	}
	if err != nil {
		return Coverage{}, fmt.Errorf("%w: %w: %.80q", ErrNotCoverage, err, s)
	}
	return c, nil
}

// ParseGap reads the line of a gap record. The strings alias s.
func ParseGap(s string) (Gap, error) {
	var g Gap
	var windows int64
	var fields [9]string
	err := splitLine(s, fields[:], gapWords[:])
	if err == nil {
		g.Cause = orEmpty(fields[6])
		err = errors.Join(
			parseTime(fields[1], &g.From),
			parseTime(fields[2], &g.To),
			parseCounts(fields[8], &windows),
		)
	}
	if err == nil && (windows <= 0 || g.To <= g.From || (g.To-g.From)%windows != 0) {
		err = errors.New("a gap that is not some windows of whole seconds")
	}
	if err != nil {
		return Gap{}, fmt.Errorf("%w: %w: %.80q", ErrNotCoverage, err, s)
	}
	g.Window = (g.To - g.From) / windows
	return g, nil
}
