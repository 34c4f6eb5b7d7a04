//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// Loki takes every setting that docs/loki.md shows.
func TestLokiSettings(t *testing.T) {
	if os.Getenv("LOKI_URL") != "" {
		t.Skip("LOKI_URL is set, so that there need not be a Loki to ask")
	}
	page, err := os.ReadFile("../../docs/loki.md")
	require.NoError(t, err)
	base, err := os.ReadFile("../stack/loki.yaml")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)<!-- (\\w+) -->\n```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	require.Len(t, blocks, 2)
	for _, block := range blocks {
		t.Run(string(block[1]), func(t *testing.T) {
			var config, shown map[string]map[string]any
			require.NoError(t, yaml.Unmarshal(block[2], &shown))
			// What is not a section of maps is of no interest here.
			var all map[string]any
			require.NoError(t, yaml.Unmarshal(base, &all))
			delete(all, "auth_enabled")
			rest, err := yaml.Marshal(all)
			require.NoError(t, err)
			require.NoError(t, yaml.Unmarshal(rest, &config))
			for section, settings := range shown {
				for key, value := range settings {
					config[section][key] = value
				}
			}
			text, err := yaml.Marshal(config)
			require.NoError(t, err)
			dir := t.TempDir()
			path := filepath.Join(dir, "loki.yaml")
			require.NoError(t, os.WriteFile(path, text, 0o600))
			loki := exec.CommandContext(t.Context(), os.Getenv("LOKI_BIN"), "-config.file="+path, "-config.expand-env=true", "-verify-config")
			loki.Env = append(os.Environ(), "LOKI_DIR="+dir, "LOKI_HTTP_PORT=1", "LOKI_GRPC_PORT=2")
			said, err := loki.CombinedOutput()
			require.NoError(t, err, "%s", said)
		})
	}
}
