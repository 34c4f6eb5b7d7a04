package edgesconnector

import "strings"

// names holds one copy of every string, and of every list of strings. They may be parts
// of a record's memory otherwise, and there are few different ones.
type names struct {
	all   map[string]string
	lists map[string][]string
}

func newNames() names { return names{map[string]string{}, map[string][]string{}} }

// name returns the one copy of a string.
func (n *names) name(s string) string {
	if own, ok := n.all[s]; ok {
		return own
	}
	own := strings.Clone(s)
	n.all[own] = own
	return own
}

// list returns the one copy of a list, which must not be changed.
func (n *names) list(all []string) []string {
	key := strings.Join(all, ",")
	if own, ok := n.lists[key]; ok {
		return own
	}
	own := make([]string, len(all))
	for i, s := range all {
		own[i] = n.name(s)
	}
	n.lists[key] = own
	return own
}
