package svcidprocessor

import "slices"

// workloads are those of a namespace that something speaks for, by Goldmane's name for
// their Pods. The directory's lock guards them.
type workloads struct {
	unlabelled string // the namespace's
	byName     map[string]*workload
}

// workload is what speaks for one name: the different identities of its Pods, or of what
// they were made from. That is one identity almost always.
type workload struct {
	// found is what values come to, and all that a look-up reads: one place in memory less.
	found  verdict
	name   string
	values []evidence
}

// evidence is one identity, and how many objects bear it out: those that are alive, and
// those that are gone and not forgotten.
type evidence struct {
	identity    string // "": no label
	alive, gone int
}

// born notes that an object speaks for an identity of the workload of that name.
func (ws *workloads) born(name, identity string) *workload {
	w := ws.byName[name]
	if w == nil {
		w = &workload{name: name, values: make([]evidence, 0, 1)}
		ws.byName[name] = w
	}
	ws.count(w, identity, 1, 0)
	return w
}

// changed notes that an object which spoke for one identity is still there, and speaks for
// another or for none. It counts as what it says now.
func (ws *workloads) changed(w *workload, from, to string) {
	ws.count(w, to, 1, 0)
	ws.count(w, from, -1, 0)
}

// count adds to the objects that bear an identity out. It drops the identity, and the
// workload, where none is left.
func (ws *workloads) count(w *workload, identity string, alive, gone int) {
	i := slices.IndexFunc(w.values, func(e evidence) bool { return e.identity == identity })
	if i < 0 {
		i = len(w.values)
		w.values = append(w.values, evidence{identity: identity})
	}
	e := &w.values[i]
	e.alive += alive
	e.gone += gone
	if e.alive == 0 && e.gone == 0 {
		w.values = slices.Delete(w.values, i, i+1)
	}
	switch {
	case len(w.values) == 0:
		delete(ws.byName, w.name)
	case len(w.values) > 1:
		w.found = verdict{ws.unlabelled, basisUnlabelled, reasonMixed}
	case w.values[0].identity == "":
		w.found = verdict{ws.unlabelled, basisUnlabelled, reasonMissing}
	default:
		w.found = verdict{w.values[0].identity, basisWorkload, reasonNone}
	}
}
