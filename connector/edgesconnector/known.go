package edgesconnector

import (
	"cmp"
	"slices"

	"github.com/goldtrail/goldtrail/internal/flowlog"
)

// known is the set of known edges, bounded. It gives each a small number. Fields are
// exported for gob.
type known struct {
	// List is indexed by an edge's number. Free are numbers that nobody has.
	List []knownEdge
	Free []uint32

	max     int
	numbers map[flowlog.Edge]uint32
	names   names
}

// knownEdge is one of them.
type knownEdge struct {
	flowlog.Edge
	// Last is the end of the last window it was seen in, in seconds since the epoch; 0 is a
	// free place in the list.
	Last int64
	// News is the event that is still to be said, nil if none is.
	News *news
	// Unannounced: every record of it so far has a twin that names the Service that was
	// dialled. The event is for the twin's edge, until a record without one comes.
	Unannounced bool
}

// news is what a first_seen event says beside the edge.
type news struct {
	Start, End int64
	Deciding   string
}

func newKnown(most int) known {
	return known{max: most, numbers: map[flowlog.Edge]uint32{}, names: newNames()}
}

// size is how many edges are known.
func (k *known) size() int { return len(k.List) - len(k.Free) }

// number returns the number of an observation's edge, and notes that it was seen. Over the
// bound it is that of the overflow edge. isNew is whether the edge was not known.
func (k *known) number(o *observation) (n uint32, isNew, overflowed bool) {
	n, ok := k.numbers[o.edge]
	if !ok {
		edge := o.edge
		if k.size() >= k.max {
			edge = flowlog.Edge{Source: flowlog.OverflowIdentity, Destination: flowlog.OverflowIdentity, Action: o.edge.Action}
			overflowed = true
			n, ok = k.numbers[edge]
		} else {
			isNew = true
		}
		if !ok {
			n = k.add(edge)
		}
	}
	k.List[n].Last = max(k.List[n].Last, o.end)
	return n, isNew, overflowed
}

// meet decides whether an edge is worth an event. learning is whether the observation is of
// the time in which edges become known without one.
func (k *known) meet(n uint32, o *observation, isNew, learning bool) {
	e := &k.List[n]
	if isNew {
		e.Unannounced = true
	}
	if !e.Unannounced || !learning && (o.twin || k.silenced(&e.Edge)) {
		return
	}
	e.Unannounced = false
	if !learning {
		e.News = &news{o.start, o.end, k.names.name(o.deciding)}
	}
}

// silenced reports whether an edge is unconfirmed and known with another outcome: a node
// that falls silent makes one of every edge into it, which is no news.
func (k *known) silenced(e *flowlog.Edge) bool {
	if e.Action != flowlog.ActionUnconfirmed {
		return false
	}
	for _, action := range [...]string{flowlog.ActionAllow, flowlog.ActionDeny} {
		other := *e
		other.Action = action
		if _, ok := k.numbers[other]; ok {
			return true
		}
	}
	return false
}

func (k *known) add(e flowlog.Edge) uint32 {
	e.Source, e.Destination = k.names.name(e.Source), k.names.name(e.Destination)
	e.Transport, e.Action = k.names.name(e.Transport), k.names.name(e.Action)
	var n uint32
	if last := len(k.Free) - 1; last >= 0 {
		n = k.Free[last]
		k.Free = k.Free[:last]
		k.List[n] = knownEdge{Edge: e}
	} else {
		n = uint32(len(k.List))
		k.List = append(k.List, knownEdge{Edge: e})
	}
	k.numbers[e] = n
	return n
}

// forget forgets the edges that were last seen before a time, and as many more as must go
// for there to be room, those first that were not seen for longest. It leaves alone those
// in use.
func (k *known) forget(before int64, room int, inUse func(uint32) bool) (forgotten []uint32) {
	var idle []uint32
	for n := range k.List {
		if e := &k.List[n]; e.Last != 0 && e.News == nil && !inUse(uint32(n)) {
			idle = append(idle, uint32(n))
		}
	}
	slices.SortStableFunc(idle, func(a, b uint32) int { return cmp.Compare(k.List[a].Last, k.List[b].Last) })
	room -= k.max - k.size()
	for _, n := range idle {
		if len(forgotten) >= room && k.List[n].Last >= before {
			break
		}
		delete(k.numbers, k.List[n].Edge)
		k.List[n] = knownEdge{}
		k.Free = append(k.Free, n)
		forgotten = append(forgotten, n)
	}
	if len(forgotten) > 0 {
		k.rename()
	}
	return forgotten
}

// rename forgets the strings that no known edge has. Policies are noted anew.
func (k *known) rename() {
	k.names = newNames()
	for n := range k.List {
		e := &k.List[n]
		for _, s := range [...]string{e.Source, e.Destination, e.Transport, e.Action} {
			k.names.all[s] = s
		}
	}
}

// restore makes what gob does not keep.
func (k *known) restore(most int) {
	list, free := k.List, k.Free
	*k = newKnown(most)
	k.List, k.Free = list, free
	for n := range k.List {
		e := &k.List[n]
		if e.Last == 0 {
			continue
		}
		e.Source, e.Destination = k.names.name(e.Source), k.names.name(e.Destination)
		e.Transport, e.Action = k.names.name(e.Transport), k.names.name(e.Action)
		k.numbers[e.Edge] = uint32(n)
	}
}
