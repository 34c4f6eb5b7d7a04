package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/goldtrail/goldtrail/internal/trail"
)

// wanted are the flags that choose edges and flows.
type wanted struct {
	trail.Filter
	ports []int
}

func (f *wanted) register(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.Source, "src", nil, "source identity: payments, monitoring/grafana, 'monitoring/*', internet")
	flags.StringSliceVar(&f.Destination, "dst", nil, "destination identity")
	flags.StringSliceVar(&f.Namespaces, "ns", nil, "namespace, on either side: payments, 'team-*'")
	flags.StringSliceVar(&f.PeersOf, "peers-of", nil, "identity, on either side")
	refuseEmpty(flags, "src", "dst", "ns", "peers-of")
	flags.IntSliceVar(&f.ports, "port", nil, "destination port")
	flags.BoolVar(&f.Denied, "denied", false, "only what was denied")
	flags.BoolVar(&f.Unconfirmed, "unconfirmed", false, "only what the source's node let go, and the destination's node said nothing of; with --denied, either")
	flags.BoolVar(&f.StagedDenied, "staged-denied", false, "only what is not denied, and staged policies would deny (reads flow records, not rollups)")
	flags.BoolVar(&f.External, "external", false, "only from or to the outside: internet, private, network sets")
	flags.BoolVar(&f.Unattributed, "unattributed", false, "only where a side is of no known Service, like monitoring/?")
}

// filter checks the flags against each other.
func (f *wanted) filter() (trail.Filter, error) {
	if f.Denied && f.StagedDenied {
		return f.Filter, usagef("'--denied' and '--staged-denied' contradict each other: what is denied already is not what staged policies would newly deny")
	}
	if len(f.PeersOf) > 0 && (len(f.Source) > 0 || len(f.Destination) > 0) {
		return f.Filter, usagef("'--peers-of' and '--src'/'--dst' contradict each other: --peers-of is either side; give --src and --dst for one direction")
	}
	for _, p := range f.ports {
		if p < 1 || p > 65535 {
			return f.Filter, usagef("'--port' is %d: must be between 1 and 65535", p)
		}
		f.Ports = append(f.Ports, int64(p))
	}
	return f.Filter, nil
}

const identities = "identities are a namespace, or namespace/service"

// looser is a pattern for who does not know an identity exactly, "" where it is a pattern
// already, or has a form that nobody gets wrong. Who calls monitoring/grafana grafana must
// not read that nobody talks to it.
func looser(identity string) string {
	if strings.ContainsAny(identity, "*:") || identity == "internet" || identity == "private" {
		return ""
	}
	if namespace, _, ok := strings.Cut(identity, "/"); ok {
		return namespace + "*"
	}
	return "*" + identity + "*"
}

// ifNothing are the notes of an answer in which nothing matches.
func (f *wanted) ifNothing(matches int) []string {
	if matches > 0 {
		return nil
	}
	var notes []string
	for _, side := range []struct {
		flag   string
		values []string
	}{{"src", f.Source}, {"dst", f.Destination}, {"peers-of", f.PeersOf}} {
		for _, identity := range side.values {
			if try := looser(identity); try != "" {
				notes = append(notes, fmt.Sprintf("nothing matches; if %q is no identity, try --%s '%s': %s", identity, side.flag, try, identities))
			}
		}
	}
	return notes
}
