package doctor

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// matcher is one comparison of a stream selector, and what stands before the next.
var matcher = regexp.MustCompile("^\\s*([a-zA-Z_][a-zA-Z0-9_]*)\\s*(=~|!~|!=|=)\\s*(\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)\\s*(,|$)")

// selectorMatches reports whether a stream selector of LogQL selects a stream.
func selectorMatches(selector string, labels map[string]string) (bool, error) {
	bad := fmt.Errorf("selector %s cannot be read", selector)
	text := strings.TrimSpace(selector)
	if !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") {
		return false, bad
	}
	text = strings.TrimSpace(text[1 : len(text)-1])
	matches := true
	for text != "" {
		parts := matcher.FindStringSubmatch(text)
		if parts == nil {
			return false, bad
		}
		text = text[len(parts[0]):]
		value, err := strconv.Unquote(parts[3])
		if err != nil {
			return false, bad
		}
		is := labels[parts[1]] == value
		if strings.HasSuffix(parts[2], "~") {
			pattern, err := regexp.Compile("^(?s:" + value + ")$")
			if err != nil {
				return false, bad
			}
			is = pattern.MatchString(labels[parts[1]])
		}
		matches = matches && is != strings.HasPrefix(parts[2], "!")
	}
	return matches, nil
}
