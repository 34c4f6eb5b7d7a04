package traffic

import (
	"math"
	"slices"
)

// How long a connection is reported after its instant, in windows. A denied SYN's flow
// lives on for two minutes at its source's node, where conntrack waits for an answer; not
// so a passing pair's, which would have to be made again for as long.
const (
	unanswered = 8.0
	dropped    = 0.33
)

// event is a connection, or packets of one that stands.
type event struct {
	at                     int64
	from, to               int // Pods of the ends, -1 where an end has none
	verdict                Verdict
	dialled                bool
	connection             bool // and not only packets
	packets, bytes         int64
	backPackets, backBytes int64
	// lives is how long after its instant each side reports the connection.
	sourceLives, destLives int64
	straggles              [2]float64 // for each side: to be compared with its node's share
	gone                   int64      // when its fleeting Pod is
	misnamed, unseen       bool
}

// tailOf is the longest that one of the pair's connections is reported, those that stand
// apart.
func (t *Traffic) tailOf(p *pair) int64 {
	if p.waits {
		return int64((unanswered + 1) * float64(t.window))
	}
	return t.window
}

// events calls f with all that the pair sends in the windows that touch [from, to], by
// window and in order in each. Connections that stand come first; their packets are
// events of their own.
func (t *Traffic) events(p *pair, from, to int64, d dice, f func(*event)) {
	from, to = max(from, p.begin), min(to, p.end-1)
	if from > to {
		return
	}
	for k := range p.Standing {
		t.standing(p, k, from, to, d, f)
	}
	var at []int64
	for slot := floorDiv(from, t.window); slot*t.window <= to; slot++ {
		d.pcg.Seed(p.seed, uint64(slot))
		if p.Share > 0 && d.Float64() < p.Share {
			n := int(d.vary(p.Connections))
			at = at[:0]
			for range n {
				at = append(at, slot*t.window+d.Int64N(t.window))
			}
			slices.Sort(at)
			for _, at := range at {
				e := t.draw(p, at, d)
				t.connect(p, &e, d)
				if p.has(at) && p.ends(&e) {
					f(&e)
				}
			}
		}
		for k := range p.Standing {
			if e, ok := t.busy(p, k, slot, d); ok {
				f(&e)
			}
		}
	}
}

// draw is an event of the pair, without its packets.
func (t *Traffic) draw(p *pair, at int64, d dice) event {
	return event{
		at: at, verdict: p.verdict(at),
		from: p.src.draw(at, d), to: p.dst.draw(at, d),
		dialled:   d.Float64() < p.Dialled && p.Service != nil,
		straggles: [2]float64{d.Float64(), d.Float64()},
		gone:      math.MaxInt64,
	}
}

// draw is one of the Pods that live at t; -1 if there is none.
func (s *side) draw(t int64, d dice) int {
	if len(s.pods) == 0 {
		return -1
	}
	i := d.IntN(len(s.pods))
	if !s.mortal {
		return i
	}
	for range s.pods {
		if s.pods[i].has(t) {
			return i
		}
		i = (i + 1) % len(s.pods)
	}
	return -1
}

// ends reports whether there is a Pod at each end that is a workload.
func (p *pair) ends(e *event) bool {
	return (e.from >= 0 || len(p.src.pods) == 0) && (e.to >= 0 || len(p.dst.pods) == 0)
}

// connect makes the event a connection.
func (t *Traffic) connect(p *pair, e *event, d dice) {
	e.connection = true
	w := float64(t.window)
	if e.verdict != Allowed {
		size := int64(60)
		if p.Proto == "icmp" {
			size = 80
		}
		e.packets = 1 + d.Int64N(4)
		e.bytes = e.packets * size
		e.sourceLives, e.destLives = int64(dropped*w), int64(dropped*w)
		if p.waits && e.verdict == DeniedAtDestination && e.from >= 0 && p.src.pods[e.from].node != p.dst.pods[e.to].node {
			e.sourceLives = int64(unanswered * w)
		}
	} else {
		p.carry(e, d.vary(p.Bytes), d)
		e.sourceLives = int64(min(0.9, 0.03*d.ExpFloat64()) * w)
		e.destLives = e.sourceLives
	}
	if p.Fleeting != nil {
		e.gone = e.at + int64(p.Fleeting.Life*(0.5+d.Float64())*w)
		e.misnamed, e.unseen = d.Float64() < p.Fleeting.Misnamed, d.Float64() < p.Fleeting.Unseen
		e.sourceLives, e.destLives = min(e.sourceLives, e.gone-e.at), min(e.destLives, e.gone-e.at)
	}
}

// carry gives the event so many bytes, both ways.
func (p *pair) carry(e *event, total float64, d dice) {
	out := total * (0.1 + 0.4*d.Float64())
	e.bytes, e.backBytes = 60+int64(out), 60+int64(total-out)
	e.packets, e.backPackets = 2+e.bytes/600, 2+e.backBytes/900
}

// session is the life of a connection that stands: the kth of the pair, for the nth time.
type session struct{ from, to int64 }

func (t *Traffic) session(p *pair, k int, n int64) session {
	life := max(p.Lifetime, 2) * float64(t.window)
	at := func(n int64) int64 {
		return int64((float64(n) + unit(p.seed, 10, uint64(k)) + 0.3*unit(p.seed, 11, uint64(k), uint64(n))) * life)
	}
	return session{at(n), at(n + 1)}
}

// during is the session that the moment t falls into.
func (t *Traffic) during(p *pair, k int, at int64) int64 {
	n := int64(math.Floor(float64(at)/(max(p.Lifetime, 2)*float64(t.window)) - unit(p.seed, 10, uint64(k))))
	for t.session(p, k, n).from > at {
		n--
	}
	for t.session(p, k, n).to <= at {
		n++
	}
	return n
}

// ofSession is an event of a session, which has the same Pods in all of its life.
func (t *Traffic) ofSession(p *pair, k int, n, at int64, d dice) (event, session, bool) {
	s := t.session(p, k, n)
	s.from, s.to = max(s.from, p.begin), min(s.to, p.end)
	d.pcg.Seed(p.seed^uint64(k+1), mix(uint64(n)))
	e := t.draw(p, s.from, d)
	e.at = at
	return e, s, s.from < s.to && e.verdict == Allowed && p.ends(&e)
}

// standing calls f with the beginnings of the kth standing connection's sessions that
// have a part in [from, to].
func (t *Traffic) standing(p *pair, k int, from, to int64, d dice, f func(*event)) {
	for n := t.during(p, k, from); ; n++ {
		e, s, ok := t.ofSession(p, k, n, 0, d)
		if s.from > to {
			return
		}
		if ok {
			e.at, e.connection = s.from, true
			e.packets, e.bytes, e.backPackets, e.backBytes = 2, 112, 1, 60
			e.sourceLives, e.destLives = s.to-s.from, s.to-s.from
			f(&e)
		}
	}
}

// busy is what the kth standing connection sends in a window.
func (t *Traffic) busy(p *pair, k int, slot int64, d dice) (event, bool) {
	if unit(p.seed, 12, uint64(k), uint64(slot)) >= p.Busy {
		return event{}, false
	}
	at := slot*t.window + int64(unit(p.seed, 13, uint64(k), uint64(slot))*float64(t.window))
	if !p.has(at) {
		return event{}, false
	}
	e, s, ok := t.ofSession(p, k, t.during(p, k, at), at, d)
	if !ok || at <= s.from || at >= s.to {
		return event{}, false
	}
	p.carry(&e, d.vary(p.Bytes), d)
	// The dice are the session's; this is of the window.
	e.straggles = [2]float64{unit(p.seed, 15, uint64(k), uint64(slot)), unit(p.seed, 16, uint64(k), uint64(slot))}
	scale := 0.5 + unit(p.seed, 14, uint64(k), uint64(slot))
	e.packets, e.bytes = 1+int64(float64(e.packets)*scale), 60+int64(float64(e.bytes)*scale)
	e.backPackets, e.backBytes = 1+int64(float64(e.backPackets)*scale), 60+int64(float64(e.backBytes)*scale)
	return e, true
}
