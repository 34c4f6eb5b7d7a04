package svcidprocessor

import (
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
	// pods are what Pods speak for, and templates what speaks for them otherwise.
	pods, templates workloads
}

// gone is an object that is no more.
type gone struct {
	at       time.Time
	in       *workloads
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
		ns.silent = len(workloadResources)
		ns.pods = workloads{unlabelled: ns.unlabelled, byName: map[string]*workload{}}
		ns.templates = workloads{unlabelled: ns.unlabelled, byName: map[string]*workload{}}
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
func (n *namespace) find(name string) verdict {
	if !n.asked {
		return verdict{n.unlabelled, basisUnlabelled, reasonMissing}
	}
	if w := n.pods.byName[name]; w != nil {
		return w.found
	}
	if w := n.templates.byName[name]; w != nil {
		return w.found
	}
	if n.silent > 0 {
		return verdict{n.unlabelled, basisUnlabelled, reasonAPIUnavailable}
	}
	return verdict{n.unlabelled, basisUnlabelled, reasonUnknownWorkload}
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

// goneLocked notes that an object is no more. It counts on for forgetAfter.
func (d *directory) goneLocked(in *workloads, w *workload, identity string) {
	in.count(w, identity, -1, 1)
	d.gone = append(d.gone, gone{at: d.clock.Now(), in: in, workload: w, identity: identity})
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
		g.in.count(g.workload, g.identity, 0, -1)
	}
}
