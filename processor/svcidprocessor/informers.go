package svcidprocessor

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/jonboulle/clockwork"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// reportEvery is how often the directory forgets and trouble is told.
const reportEvery = time.Second

// informers keep the directory in step with the Kubernetes API. They are client-go's
// reflectors, the reading half of its informers, which write to the directory instead of
// a store of objects: of 20,000 Pods that store alone would be what the directory is
// there to save.
type informers struct {
	cfg       *KubernetesConfig
	static    []string
	directory *directory
	api       *api
	contact   *contact
	clock     clockwork.Clock

	// stop ends all goroutines and done waits for them.
	stop context.CancelFunc
	done sync.WaitGroup

	// mu guards running: the multi-Service namespaces that are read, and how to end that.
	mu      sync.Mutex
	running map[string]func()
}

// start begins to read, and waits for nothing.
func (i *informers) start(ctx context.Context) {
	// What client-go would log on stderr, in a form of its own, contact logs.
	ctx = klog.NewContext(ctx, logr.Discard())
	ctx, i.stop = context.WithCancel(ctx)
	i.running = map[string]func(){}
	ticker := i.clock.NewTicker(reportEvery)
	i.done.Go(func() {
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.Chan():
				i.directory.forget()
				i.contact.report()
			}
		}
	})
	for _, name := range i.static {
		i.include(ctx, name)
	}
	if i.cfg.NamespaceSelector != "" {
		l := &listWatch{api: i.api, resource: namespaceResource, selector: i.cfg.NamespaceSelector, contact: i.contact}
		i.reflect(ctx, l, &selected{ctx: ctx, informers: i, names: map[string]struct{}{}})
	}
}

// shutdown ends the reading and waits for it.
func (i *informers) shutdown() {
	i.stop()
	i.done.Wait()
	i.api.close()
}

func (i *informers) reflect(ctx context.Context, l *listWatch, store cache.ReflectorStore) {
	r := cache.NewReflectorWithOptions(l.forReflector(), &metav1.PartialObjectMetadata{}, store, cache.ReflectorOptions{
		Name: l.namespace + "/" + l.resource.Resource, TypeDescription: l.resource.String(),
	})
	i.done.Go(func() { r.RunWithContext(ctx) })
}

// include makes a namespace a multi-Service one, and begins to read it.
func (i *informers) include(ctx context.Context, name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.running[name]; ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	ns := i.directory.add(name, true)
	var reading []*listWatch
	for _, resource := range workloadResources {
		l := &listWatch{api: i.api, resource: resource, namespace: name, contact: i.contact, feed: newFeed(i.directory, ns, resource)}
		reading = append(reading, l)
		i.reflect(ctx, l, l.feed)
	}
	i.running[name] = func() {
		cancel()
		i.directory.remove(name)
		for _, l := range reading {
			l.feed.close()
			i.contact.forget(l)
		}
	}
}

// exclude makes a namespace a single-Service one, unless the configuration lists it.
func (i *informers) exclude(name string) {
	for _, static := range i.static {
		if static == name {
			return
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if end, ok := i.running[name]; ok {
		end()
		delete(i.running, name)
	}
}
