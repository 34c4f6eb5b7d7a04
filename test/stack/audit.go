package stack

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Request is what the kube-apiserver's audit log says of one stage of a request.
type Request struct {
	Stage string // RequestReceived, ResponseStarted (of a watch), ResponseComplete, Panic
	Verb  string
	URI   string `json:"requestURI"`
	User  struct {
		Username string
	}
	ObjectRef struct {
		Resource, Namespace, Name, Subresource string
	}
	// ResponseStatus is zero where the request is not answered yet.
	ResponseStatus struct {
		Code int
	}
}

// Audit returns what a user has asked of the API so far, oldest first.
func (k *Kube) Audit(user string) ([]Request, error) {
	log, err := os.Open(k.auditLog())
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // it was only read
	var requests []Request
	for lines := bufio.NewReader(log); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return requests, nil // what has no end yet is still being written
		}
		if err != nil {
			return nil, err
		}
		var r Request
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		if r.User.Username == user {
			requests = append(requests, r)
		}
	}
}
