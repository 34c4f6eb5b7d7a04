package svcidprocessor

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// What is read from the Kubernetes API. deploy/kubernetes/rbac.yaml grants these, and a
// test holds it to them.
var (
	namespaceResource  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	podResource        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	replicaSetResource = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	revisionResource   = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "controllerrevisions"}
)

// workloadResources are read in every multi-Service namespace.
var workloadResources = []schema.GroupVersionResource{podResource, replicaSetResource, revisionResource}

// workloadName returns Goldmane's name for the Pods that o is one of, or that are made
// from it; "" where o is of no interest.
//
// Of what Pods are made from, only those objects are used whose own labels a controller
// has copied from the Pod template: the ReplicaSets of a Deployment, and the revisions of
// a StatefulSet or DaemonSet.
func workloadName(resource schema.GroupVersionResource, o *metav1.PartialObjectMetadata) string {
	switch resource {
	case podResource:
		if o.GenerateName != "" {
			return o.GenerateName + "*"
		}
		return o.Name
	case replicaSetResource:
		if owner := metav1.GetControllerOfNoCopy(o); owner != nil && owner.Kind == "Deployment" {
			return o.Name + "-*"
		}
	case revisionResource:
		if owner := metav1.GetControllerOfNoCopy(o); owner != nil && (owner.Kind == "StatefulSet" || owner.Kind == "DaemonSet") {
			return owner.Name + "-*"
		}
	}
	return ""
}

// feed keeps one resource of a multi-Service namespace in the directory, and of each
// object no more than is needed to take it out again. It is what a reflector writes to.
type feed struct {
	directory *directory
	namespace *namespace
	resource  schema.GroupVersionResource

	// Guarded by directory.mu.
	objects map[string]object // by name
	synced  bool              // has been listed once
	failing bool              // the last request failed
	silent  bool              // is counted in namespace.silent
	closed  bool              // the namespace is none of the directory's any more
}

// object is what an object of the Kubernetes API says here.
type object struct {
	workload *workload
	identity string // "": no label
}

var _ cache.TransformingStore = (*feed)(nil)

// newFeed returns one that is silent. The namespace counts it so from its beginning.
func newFeed(d *directory, ns *namespace, resource schema.GroupVersionResource) *feed {
	return &feed{directory: d, namespace: ns, resource: resource, objects: map[string]object{}, silent: true}
}

// into is where the directory keeps what this feed says. directory.mu is held.
func (f *feed) into() *workloads {
	if f.resource == podResource {
		return &f.namespace.pods
	}
	return &f.namespace.templates
}

// speakLocked counts the feed among the silent ones, or no longer.
func (f *feed) speakLocked() {
	if silent := !f.synced || f.failing; silent != f.silent {
		f.silent = silent
		if silent {
			f.namespace.silent++
		} else {
			f.namespace.silent--
		}
	}
}

// reached and failed tell whether the last request succeeded.
func (f *feed) reached() { f.setFailing(false) }
func (f *feed) failed()  { f.setFailing(true) }

func (f *feed) setFailing(failing bool) {
	f.directory.mu.Lock()
	defer f.directory.mu.Unlock()
	f.failing = failing
	f.speakLocked()
}

// Add is called by the reflector.
func (f *feed) Add(obj any) error {
	f.directory.mu.Lock()
	defer f.directory.mu.Unlock()
	if !f.closed {
		f.putLocked(obj)
	}
	return nil
}

// Update is called by the reflector.
func (f *feed) Update(obj any) error { return f.Add(obj) }

// Delete is called by the reflector.
func (f *feed) Delete(obj any) error {
	if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
		f.directory.mu.Lock()
		defer f.directory.mu.Unlock()
		if !f.closed {
			f.dropLocked(o.Name)
		}
	}
	return nil
}

// Replace is called by the reflector with everything that there is.
func (f *feed) Replace(objs []any, _ string) error {
	f.directory.mu.Lock()
	defer f.directory.mu.Unlock()
	if f.closed {
		return nil
	}
	there := make(map[string]struct{}, len(objs))
	for _, obj := range objs {
		if name := f.putLocked(obj); name != "" {
			there[name] = struct{}{}
		}
	}
	for name := range f.objects {
		if _, ok := there[name]; !ok {
			f.dropLocked(name)
		}
	}
	f.synced = true
	f.speakLocked()
	return nil
}

// Resync is part of the reflector's interface, and of no use here.
func (f *feed) Resync() error { return nil }

// Transformer trims objects as they arrive: a list that is streamed is collected before
// it is handed to Replace.
func (f *feed) Transformer() cache.TransformFunc { return f.trim }

// trim leaves what putLocked reads. Most of an object's metadata are managedFields and
// annotations.
func (f *feed) trim(obj any) (any, error) {
	o, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	kept := metav1.ObjectMeta{Name: o.Name, Namespace: o.Namespace, GenerateName: o.GenerateName}
	for _, key := range f.directory.labels {
		if value := o.Labels[key]; value != "" {
			kept.Labels = map[string]string{key: value} // the first is the one that counts
			break
		}
	}
	if f.resource != podResource {
		kept.OwnerReferences = o.OwnerReferences
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: kept}, nil
}

// putLocked notes an object that is new or has changed, and returns its name, "" where
// it is of no interest.
func (f *feed) putLocked(obj any) string {
	o, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return ""
	}
	name := workloadName(f.resource, o)
	if name == "" {
		return ""
	}
	identity := f.directory.identityLocked(f.namespace.name, o.Labels)
	old, known := f.objects[o.Name]
	switch {
	case known && old.workload.name == name && old.identity == identity:
	case known && old.workload.name == name:
		f.into().changed(old.workload, old.identity, identity)
		f.objects[o.Name] = object{old.workload, identity}
	default: // new, or another object of the same name
		f.dropLocked(o.Name)
		f.objects[o.Name] = object{f.into().born(name, identity), identity}
		f.countLocked(1)
	}
	return o.Name
}

func (f *feed) dropLocked(name string) {
	if old, known := f.objects[name]; known {
		delete(f.objects, name)
		f.directory.goneLocked(f.into(), old.workload, old.identity)
		f.countLocked(-1)
	}
}

func (f *feed) countLocked(n int) {
	if f.resource == podResource {
		f.directory.pods += int64(n)
	}
}

// close makes the feed deaf. Its namespace is none of the directory's any more.
func (f *feed) close() {
	f.directory.mu.Lock()
	defer f.directory.mu.Unlock()
	f.closed = true
	f.countLocked(-len(f.objects))
}
