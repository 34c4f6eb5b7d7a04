package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
)

// Etcd is a running etcd. It serves plain HTTP on loopback.
type Etcd struct {
	*Process
	URL string
}

// Etcd starts an etcd of one member and returns once it takes requests. Its data is gone
// with the stack's folder, so it need not survive a power cut: it does not sync to disk.
func (s *Stack) Etcd(ctx context.Context) (*Etcd, error) {
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	e := &Etcd{URL: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	peers := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	e.Process, err = s.start(ctx, "etcd", "ETCD_BIN", []string{
		"--name=default",
		"--data-dir=" + filepath.Join(s.dir, fmt.Sprintf("etcd-%d", ports[0])),
		"--listen-client-urls=" + e.URL, "--advertise-client-urls=" + e.URL,
		"--listen-peer-urls=" + peers, "--initial-advertise-peer-urls=" + peers, "--initial-cluster=default=" + peers,
		"--unsafe-no-fsync",
	}, nil, func(ctx context.Context, _ *Process) error { return answers(ctx, e.URL+"/health") })
	if err != nil {
		return nil, err
	}
	// It cleans up and then sends itself the signal again.
	e.resigns = true
	return e, nil
}

// Change is one write to etcd.
type Change struct {
	Key      string
	Deleted  bool
	Revision int64 // of the store, after it
}

// Changes watches every key of etcd from now on. It returns once the watch is in force,
// with a function that returns the next change; its error is ctx's when ctx is done. The
// function is not safe for concurrent use.
//
// It goes through etcd's own JSON gateway: etcd's client package would be a dependency
// of goldtrail's module for this one call.
func (e *Etcd) Changes(ctx context.Context) (next func() (Change, error), err error) {
	// From the zero byte to the zero byte is every key, by etcd's convention.
	const everything = `{"create_request": {"key": "AA==", "range_end": "AA=="}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+"/v3/watch", bytes.NewReader([]byte(everything)))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("watch etcd: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // the status is the error
		return nil, fmt.Errorf("watch etcd: %s: %s", resp.Status, body)
	}

	answers := json.NewDecoder(resp.Body)
	var first watchAnswer
	if err := answers.Decode(&first); err != nil {
		return nil, fmt.Errorf("watch etcd: %w", err)
	}
	if !first.Result.Created {
		return nil, errors.New("watch etcd: the first answer does not say that the watch is created")
	}
	pending := first.changes()
	return func() (Change, error) {
		for len(pending) == 0 {
			var answer watchAnswer
			if err := answers.Decode(&answer); err != nil {
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				return Change{}, fmt.Errorf("watch etcd: %w", err)
			}
			if answer.Result.Canceled || len(answer.Error) > 0 {
				return Change{}, fmt.Errorf("watch etcd: ended: %s%s", answer.Result.CancelReason, answer.Error)
			}
			pending = answer.changes()
		}
		change := pending[0]
		pending = pending[1:]
		return change, nil
	}, nil
}

// watchAnswer is one message of etcd's watch, as its gateway writes it: 64-bit numbers
// are strings, bytes are base64, what is zero is absent.
type watchAnswer struct {
	Result struct {
		Created      bool   `json:"created"`
		Canceled     bool   `json:"canceled"`
		CancelReason string `json:"cancel_reason"`
		Events       []struct {
			Type string `json:"type"`
			KV   struct {
				Key         []byte `json:"key"`
				ModRevision int64  `json:"mod_revision,string"`
			} `json:"kv"`
		} `json:"events"`
	} `json:"result"`
	Error json.RawMessage `json:"error"`
}

func (a *watchAnswer) changes() []Change {
	var list []Change
	for _, e := range a.Result.Events {
		list = append(list, Change{Key: string(e.KV.Key), Deleted: e.Type == "DELETE", Revision: e.KV.ModRevision})
	}
	return list
}
