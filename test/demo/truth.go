package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goldtrail/goldtrail/internal/flowlog"
	"github.com/goldtrail/goldtrail/internal/goldmane"
	"github.com/goldtrail/goldtrail/internal/goldmane/sim/traffic"
	"github.com/goldtrail/goldtrail/internal/trail"
)

// pair is two ends as Goldmane names them, and how they talk.
type pair struct {
	source, destination string
	port                int64
	transport           string
}

func (p pair) String() string {
	return fmt.Sprintf("%s -> %s %d/%s", p.source, p.destination, p.port, p.transport)
}

// sent is what went from one to the other, by outcome.
type sent map[string]amount

type amount struct{ connections, bytes int64 }

func (s sent) add(action string, connections, bytes int64) {
	a := s[action]
	s[action] = amount{a.connections + connections, a.bytes + bytes}
}

// checkTruth holds the records of the checked windows that count against what the simulator
// really sent, pair by pair: not less than in their inner part, and not more than in their
// surroundings, because a flush is stamped with its start. Pairs of which the nodes cannot
// tell all are left out: see traffic.Truth.Exact. What a pair lacks may be withheld still.
func (d *demo) checkTruth(ctx context.Context, c *counted) (said string, err error) {
	// One packet in some ten thousand is further away than the reach, and there are more.
	const blur = 2 * reach * window
	from, to := time.Unix(c.first, 0), time.Unix(c.last, 0).Add(window)
	inner, _, err := d.truth(ctx, from.Add(blur), to.Add(-blur))
	if err != nil {
		return "", err
	}
	outer, inexact, err := d.truth(ctx, from.Add(-blur), to.Add(blur))
	if err != nil {
		return "", err
	}
	told, err := toldBy(c.entries)
	if err != nil {
		return "", err
	}
	lacking, wrong := differ(inner, outer, told, inexact)
	if int64(len(lacking)) > c.withheld {
		wrong = append(wrong, lacking...)
	}
	if n := len(wrong); n > 0 {
		return "", fmt.Errorf("the table is not what the simulator sent, in %d places: %s", n, strings.Join(wrong[:min(n, 10)], "; "))
	}
	maps.DeleteFunc(outer, func(p pair, _ sent) bool { return inexact[p] })
	said = fmt.Sprintf("the table holds what the simulator sent: %d pairs, 0 differ", len(outer))
	if n := len(lacking); n > 0 {
		said += fmt.Sprintf(" but for what is not decided yet, of %d", n)
	}
	return said, nil
}

// truth is what the simulator sent in a time, and the pairs of which the nodes cannot tell
// all.
func (d *demo) truth(ctx context.Context, from, to time.Time) (map[pair]sent, map[pair]bool, error) {
	list, err := d.simulator.Truth(ctx, from, to)
	if err != nil {
		return nil, nil, fmt.Errorf("what the simulator sent: %w", err)
	}
	pairs, inexact := map[pair]sent{}, map[pair]bool{}
	for i := range list {
		t := &list[i]
		p := pair{
			end(t.SourceType, t.SourceNamespace, t.SourceName), end(t.DestType, t.DestNamespace, t.DestName),
			t.Port, strings.ToLower(t.Proto),
		}
		if pairs[p] == nil {
			pairs[p] = sent{}
		}
		action := flowlog.ActionDeny
		if t.Verdict == traffic.Allowed {
			action = flowlog.ActionAllow
		}
		pairs[p].add(action, t.Connections, t.Bytes)
		if !t.Exact() {
			inexact[p] = true
		}
		if t.Uncertain {
			// A Pod that is gone when the destination's node reports is an address there.
			p.source = endOf(&flowlog.Endpoint{Type: flowlog.TypeNetwork, Name: flowlog.NetworkPrivate})
			inexact[p] = true
		}
	}
	return pairs, inexact, nil
}

// toldBy is what records say, those that count.
func toldBy(entries []trail.Entry) (map[pair]sent, error) {
	pairs := map[pair]sent{}
	for i := range entries {
		f, err := entries[i].Flow()
		if err != nil {
			return nil, err
		}
		if !f.Counts {
			continue
		}
		p := pair{endOf(&f.Source), endOf(&f.Destination), f.Port, f.Transport}
		if f.ICMP != 0 {
			p.port = int64(f.ICMPType())<<8 | int64(f.ICMPCode())
		}
		if pairs[p] == nil {
			pairs[p] = sent{}
		}
		pairs[p].add(f.Action, f.ConnectionsStarted, f.SourceBytes)
	}
	return pairs, nil
}

// differ are the pairs that were not told as they were, with what was and what was told: those
// of which less is told, and the others.
func differ(inner, outer, told map[pair]sent, inexact map[pair]bool) (lacking, wrong []string) {
	for p, most := range outer {
		if inexact[p] {
			continue
		}
		for _, action := range []string{flowlog.ActionAllow, flowlog.ActionDeny, flowlog.ActionUnconfirmed} {
			least, most, got := inner[p][action], most[action], told[p][action]
			text := fmt.Sprintf("%s %s: %d to %d connections and %d to %d bytes were sent, %d and %d are told",
				action, p, least.connections, most.connections, least.bytes, most.bytes, got.connections, got.bytes)
			switch {
			case got.connections > most.connections || got.bytes > most.bytes:
				wrong = append(wrong, text)
			case got.connections < least.connections || got.bytes < least.bytes:
				lacking = append(lacking, text)
			}
		}
	}
	for p, all := range told {
		if outer[p] == nil && !inexact[p] && all[flowlog.ActionAllow] != (amount{}) {
			wrong = append(wrong, fmt.Sprintf("%s was allowed, and never sent", p))
		}
	}
	slices.Sort(lacking)
	slices.Sort(wrong)
	return lacking, wrong
}

// end is an end of a pair as its record has it.
func end(kind goldmane.EndpointType, namespace, name string) string {
	kinds := map[goldmane.EndpointType]string{
		goldmane.EndpointType_WorkloadEndpoint: flowlog.TypeWorkload, goldmane.EndpointType_HostEndpoint: flowlog.TypeHost,
		goldmane.EndpointType_NetworkSet: flowlog.TypeNetworkSet, goldmane.EndpointType_Network: flowlog.TypeNetwork,
	}
	const nothing = "-" // as Calico spells it
	return endOf(&flowlog.Endpoint{Type: kinds[kind], Namespace: strings.TrimPrefix(namespace, nothing), Name: strings.TrimPrefix(name, nothing)})
}

func endOf(e *flowlog.Endpoint) string { return e.Type + ":" + e.Namespace + "/" + e.Name }
