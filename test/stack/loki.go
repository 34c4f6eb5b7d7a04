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

	ports, err := FreePorts(2)
	if err != nil {
		return "", err
	}
	httpPort, grpcPort := strconv.Itoa(int(ports[0])), strconv.Itoa(int(ports[1]))
	dir := filepath.Join(s.dir, "loki")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	config := filepath.Join(dir, "loki.yaml")
	if err := os.WriteFile(config, lokiConfig, 0o600); err != nil {
		return "", err
	}
	url := "http://127.0.0.1:" + httpPort
	_, err = s.start(ctx, "loki", "LOKI_BIN",
		[]string{"-config.file=" + config, "-config.expand-env=true"},
		[]string{"LOKI_DIR=" + dir, "LOKI_HTTP_PORT=" + httpPort, "LOKI_GRPC_PORT=" + grpcPort},
		func(ctx context.Context, _ *Process) error { return answers(ctx, url+"/ready") })
	return url, err
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
