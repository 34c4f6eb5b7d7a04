package svcidprocessor

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// selected are the Namespaces that the selector matches: a reflector writes to it. One
// that no longer matches is reported as deleted.
type selected struct {
	ctx       context.Context //nolint:containedctx // of the reflectors that it starts
	informers *informers
	names     map[string]struct{} // of the reflector's goroutine
}

var _ cache.TransformingStore = (*selected)(nil)

// Add is called by the reflector.
func (s *selected) Add(obj any) error {
	if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
		s.names[o.Name] = struct{}{}
		s.informers.include(s.ctx, o.Name)
	}
	return nil
}

// Update is called by the reflector.
func (s *selected) Update(obj any) error { return s.Add(obj) }

// Delete is called by the reflector.
func (s *selected) Delete(obj any) error {
	if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
		s.drop(o.Name)
	}
	return nil
}

func (s *selected) drop(name string) {
	delete(s.names, name)
	s.informers.exclude(name)
}

// Replace is called by the reflector with everything that there is.
func (s *selected) Replace(objs []any, _ string) error {
	there := make(map[string]struct{}, len(objs))
	for _, obj := range objs {
		if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
			there[o.Name] = struct{}{}
		}
		if err := s.Add(obj); err != nil {
			return err
		}
	}
	for name := range s.names {
		if _, ok := there[name]; !ok {
			s.drop(name)
		}
	}
	s.informers.directory.listed()
	return nil
}

// Resync is part of the reflector's interface, and of no use here.
func (s *selected) Resync() error { return nil }

// Transformer trims objects as they arrive.
func (s *selected) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
			obj = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: o.Name}}
		}
		return obj, nil
	}
}
