// Package storageclient finds the storage extension that a component's configuration names.
package storageclient

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// Open returns self's client of the storage extension of that name, or nil where id is
// nil. Its errors name the configuration's key, which is to be 'storage'.
func Open(ctx context.Context, host component.Host, id *component.ID, kind component.Kind, self component.ID) (storage.Client, error) {
	if id == nil {
		return nil, nil //nolint:nilnil // without storage is no failure
	}
	extension, ok := host.GetExtensions()[*id]
	if !ok {
		return nil, fmt.Errorf("'storage' is %s: no such extension is running; add it to 'extensions' and to 'service::extensions'", id)
	}
	keeper, ok := extension.(storage.Extension)
	if !ok {
		return nil, fmt.Errorf("'storage' is %s: must be a storage extension, such as file_storage", id)
	}
	client, err := keeper.GetClient(ctx, kind, self, "")
	if err != nil {
		return nil, fmt.Errorf("'storage' is %s: cannot be opened: %w", id, err)
	}
	return client, nil
}
