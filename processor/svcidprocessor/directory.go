package svcidprocessor

import (
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// directory is what is known of the multi-Service namespaces: which they are and, where
// the Kubernetes API is asked, which identity their workloads have. Safe for concurrent
// use.
type directory struct {
	separator string
	// labels are label keys in order of precedence.
	labels []string
	// forgetAfter is how long a Pod that is gone counts; 0 where the API is not asked.
	forgetAfter time.Duration
	clock       clockwork.Clock

	// mu guards what is below and everything that can be reached from there. A batch
	// reads all of its answers under one read lock, so that equal ends of one batch get
	// equal identities. Writers hold it for one event, or for one list.
	mu         sync.RWMutex
	namespaces map[string]*namespace
	// complete is false until the Namespaces that the selector matches have been listed.
	complete bool
	// gone are the objects that are gone and not forgotten, oldest first.
	gone []gone
	// pods counts those that are alive.
	pods  int64
	names interner
}

// namespace is a multi-Service namespace.
type namespace struct {
	name string
	// unlabelled is the identity where there is no label to tell by.
	unlabelled string
	// asked is whether the Kubernetes API is; the rest is empty where it is not.
	asked bool
	// silent counts the feeds that have not been read yet, or cannot be at present.
	silent int
	// pods and templates are by Goldmane's name for a set of Pods.
	pods, templates map[string]*workload
}

// workload is the evidence that one name has: the different identities that its Pods, or
// what they were made from, speak for. It has one of them almost always.
type workload struct {
	name   string
	values []evidence
}

// evidence is one identity, and how many objects bear it out: those that are alive, and
// those that are gone and not forgotten.
type evidence struct {
	identity    string // "": no label
	alive, gone int
}

// gone is an object that is no more.
type gone struct {
	at       time.Time
	in       map[string]*workload
	workload *workload
	identity string
}

func newDirectory(cfg *Config, clock clockwork.Clock) *directory {
	d := &directory{
		separator:  cfg.Separator,
		labels:     cfg.Labels,
		clock:      clock,
		namespaces: make(map[string]*namespace, len(cfg.MultiServiceNamespaces)),
		complete:   true,
	}
	kubernetes := cfg.Kubernetes.Get()
	if kubernetes != nil {
		d.forgetAfter = kubernetes.ForgetAfter
		d.complete = kubernetes.NamespaceSelector == ""
	}
	for _, name := range cfg.MultiServiceNamespaces {
		d.addLocked(name, kubernetes != nil)
	}
	return d
}

// add makes a namespace a multi-Service one, and returns it. If it is one, that is all.
func (d *directory) add(name string, asked bool) *namespace {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addLocked(name, asked)
}

func (d *directory) addLocked(name string, asked bool) *namespace {
	if ns, ok := d.namespaces[name]; ok {
		return ns
	}
	ns := &namespace{name: name, unlabelled: name + d.separator + unknownIdentity, asked: asked}
	if asked {
		ns.pods, ns.templates = map[string]*workload{}, map[string]*workload{}
	}
	d.namespaces[name] = ns
	return ns
}

// remove makes the namespace a single-Service one, and forgets its workloads.
func (d *directory) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.namespaces, name)
}

// listed says that every Namespace that the selector matches has been added.
func (d *directory) listed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.complete = true
}

// alivePods returns how many Pods are known that are not gone.
func (d *directory) alivePods() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.pods
}

// find returns the identity of the workload that Goldmane calls name: of its Pods, or else
// of what they were made from. d.mu is held.
func (n *namespace) find(name string) (string, basis, reason) {
	if !n.asked {
		return n.unlabelled, basisUnlabelled, reasonMissing
	}
	w := n.pods[name]
	if w == nil {
		w = n.templates[name]
	}
	switch {
	case w == nil && n.silent > 0:
		return n.unlabelled, basisUnlabelled, reasonAPIUnavailable
	case w == nil:
		return n.unlabelled, basisUnlabelled, reasonUnknownWorkload
	case len(w.values) > 1:
		return n.unlabelled, basisUnlabelled, reasonMixed
	case w.values[0].identity == "":
		return n.unlabelled, basisUnlabelled, reasonMissing
	}
	return w.values[0].identity, basisWorkload, reasonNone
}

// identityLocked returns the identity that labels give in that namespace, "" for none.
func (d *directory) identityLocked(namespace string, labels map[string]string) string {
	for _, key := range d.labels {
		if value := labels[key]; value != "" {
			return d.names.join(namespace, d.separator, value)
		}
	}
	return ""
}

// bornLocked notes that an object speaks for an identity of the workload of that name.
func (d *directory) bornLocked(in map[string]*workload, name, identity string) *workload {
	w := in[name]
	if w == nil {
		w = &workload{name: name, values: make([]evidence, 0, 1)}
		in[name] = w
	}
	if !w.count(identity, 1, 0) {
		w.values = append(w.values, evidence{identity: identity, alive: 1})
	}
	return w
}

// goneLocked notes that such an object is no more. It counts on for forgetAfter.
func (d *directory) goneLocked(in map[string]*workload, w *workload, identity string) {
	w.count(identity, -1, 1)
	d.gone = append(d.gone, gone{at: d.clock.Now(), in: in, workload: w, identity: identity})
}

// changedLocked notes that an object which spoke for one identity is still there, and
// speaks for another or for none. It counts as what it says now.
func (d *directory) changedLocked(in map[string]*workload, w *workload, from, to string) {
	d.bornLocked(in, w.name, to)
	w.count(from, -1, 0)
}

// forget drops what has been gone for forgetAfter.
func (d *directory) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.Now()
	for len(d.gone) > 0 && now.Sub(d.gone[0].at) >= d.forgetAfter {
		g := d.gone[0]
		d.gone[0] = gone{} // the array lives on
		d.gone = d.gone[1:]
		if g.workload.count(g.identity, 0, -1); len(g.workload.values) == 0 {
			delete(g.in, g.workload.name)
		}
	}
}

// count adds to the objects that bear an identity out, and drops it where none is left. It
// reports whether there was that identity.
func (w *workload) count(identity string, alive, gone int) bool {
	for i := range w.values {
		e := &w.values[i]
		if e.identity != identity {
			continue
		}
		e.alive += alive
		e.gone += gone
		if e.alive == 0 && e.gone == 0 {
			w.values = slices.Delete(w.values, i, i+1)
		}
		return true
	}
	return false
}
