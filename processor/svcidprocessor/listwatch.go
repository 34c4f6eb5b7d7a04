package svcidprocessor

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// listWatch makes the requests of one reflector, says how they went, and sees to it that
// they are served from the API server's watch cache and never read etcd.
//
// A reflector asks for a stream that begins with everything there is; a server that
// cannot do that it asks for a list and then a watch. Not safe for concurrent use: a
// reflector makes one request at a time.
type listWatch struct {
	api       *api
	resource  schema.GroupVersionResource
	namespace string // "": of the cluster
	selector  string
	contact   *contact
	// feed is told how requests go; nil for namespaces.
	feed *feed
	// streamed is why the stream could not be had, until the list that the reflector
	// then asks for.
	streamed error
}

// forReflector is l as a reflector takes it.
func (l *listWatch) forReflector() *cache.ListWatch {
	return &cache.ListWatch{ListWithContextFunc: l.list, WatchFuncWithContext: l.watch}
}

func (l *listWatch) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if err := l.streamed; err != nil {
		l.streamed = nil
		return nil, err // a list fails for the same reason: the one request was enough
	}
	fromCache(&options)
	options.LabelSelector = l.selector
	list, err := l.api.get().Resource(l.resource).Namespace(l.namespace).List(ctx, options)
	if err != nil {
		return nil, l.note(ctx, err)
	}
	return list, nil
}

func (l *listWatch) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	stream := options.SendInitialEvents != nil && *options.SendInitialEvents
	if stream {
		fromCache(&options)
	}
	options.LabelSelector = l.selector
	w, err := l.api.get().Resource(l.resource).Namespace(l.namespace).Watch(ctx, options)
	if err == nil && reflect.TypeOf(w) == reflect.TypeOf(watch.NewEmptyWatch()) {
		err = errNoAnswer // client-go's way to say that it ran into a timeout, or lost the connection
	}
	switch {
	case err == nil:
		l.contact.succeeded(l)
		return w, nil
	case isOutdated(err):
		return nil, err // the reflector reads everything anew
	case stream && apierrors.IsInvalid(err):
		return nil, err // a server that does not know streams; a list follows
	case stream:
		l.streamed = l.note(ctx, err)
		// Not as it is: where the connection is refused, a reflector waits before it asks
		// for the stream again, up to a minute, and does not listen to its context.
		return nil, fmt.Errorf("%v", err) //nolint:errorlint // see above
	}
	return nil, l.note(ctx, err)
}

var errNoAnswer = errors.New("the Kubernetes API did not answer")

// note says that a request failed, and returns why.
func (l *listWatch) note(ctx context.Context, err error) error {
	if ctx.Err() != nil || isOutdated(err) {
		return err
	}
	if !apierrors.IsForbidden(err) {
		if renewErr := l.api.renew(); renewErr != nil {
			err = renewErr
		}
	}
	l.contact.failed(ctx, l, err)
	return err
}

// isOutdated reports whether the server refuses a resource version: we were away for too
// long, or it has been restored from a backup. Neither is a failure to reach it.
func isOutdated(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// fromCache makes a request for everything there is one that the watch cache answers as
// it stands. Without a resource version the API server first asks etcd what the newest
// is. A limit would make it read etcd page by page.
func fromCache(options *metav1.ListOptions) {
	if options.ResourceVersion == "" {
		options.ResourceVersion = "0"
	}
	options.Limit = 0
}
