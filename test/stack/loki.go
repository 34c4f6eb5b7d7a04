package stack

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed loki.yaml
var lokiConfig []byte

// Loki starts Loki on loopback and returns its base URL once it answers /ready. If
// LOKI_URL is set, that Loki is used: nothing is started, but it must be ready.
func (s *Stack) Loki(ctx context.Context) (string, error) {
	if url := strings.TrimSuffix(os.Getenv("LOKI_URL"), "/"); url != "" {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		if err := answers(ctx, url+"/ready"); err != nil {
			return "", fmt.Errorf("LOKI_URL is %s: %w", url, err)
		}
		return url, nil
	}

	url, _, err := s.OwnLoki(ctx, LokiOptions{Dir: filepath.Join(s.dir, "loki")})
	return url, err
}

// LokiOptions say how to run a Loki.
type LokiOptions struct {
	Dir  string   // all that it writes; one that an earlier Loki has left is read
	Args []string // flags, which are stronger than the configuration file
	// Limits is YAML for limits_config, two blanks in, for what has no flag.
	Limits string
}

// OwnLoki starts a Loki whatever LOKI_URL says, and returns its base URL once it answers
// /ready.
func (s *Stack) OwnLoki(ctx context.Context, o LokiOptions) (string, *Process, error) {
	ports, err := FreePorts(2)
	if err != nil {
		return "", nil, err
	}
	httpPort, grpcPort := strconv.Itoa(int(ports[0])), strconv.Itoa(int(ports[1]))
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return "", nil, err
	}
	config := filepath.Join(o.Dir, "loki.yaml")
	const limits = "\nlimits_config:\n"
	text := strings.Replace(string(lokiConfig), limits, limits+o.Limits, 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	url := "http://127.0.0.1:" + httpPort
	p, err := s.start(ctx, "loki", "LOKI_BIN",
		append([]string{"-config.file=" + config, "-config.expand-env=true"}, o.Args...),
		[]string{"LOKI_DIR=" + o.Dir, "LOKI_HTTP_PORT=" + httpPort, "LOKI_GRPC_PORT=" + grpcPort},
		func(ctx context.Context, _ *Process) error { return answers(ctx, url+"/ready") })
	return url, p, err
}

// answers returns nil if a GET of url is answered with 200.
func answers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
