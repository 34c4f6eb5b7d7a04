package traffic

// Stamps calls f with the packets of each event of [from, to) that nodes at both ends
// report, and the windows in which they do. Nodes that are slow on purpose are left out.
func (t *Traffic) Stamps(from, to int64, f func(source, dest, packets int64)) {
	d := newDice()
	t.live(from, to, func(p *pair) {
		t.events(p, from, to, d, func(e *event) {
			if e.from < 0 || e.to < 0 || e.verdict == DeniedAtSource {
				return
			}
			stamp := func(i int, n *node) int64 {
				j := n.from(e.at)
				if e.straggles[i] < n.Straggling {
					j++
				}
				return n.stamp(j) * 1e9 / t.window
			}
			a, b := t.nodes[p.src.pods[e.from].node], t.nodes[p.dst.pods[e.to].node]
			if a.Interval == 1 && b.Interval == 1 {
				f(stamp(0, a), stamp(1, b), e.packets+e.backPackets)
			}
		})
	})
}
