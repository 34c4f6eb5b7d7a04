//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goldtrail/goldtrail/test/stack"
)

// demo is a run of the demo program, as `make demo` runs it.
type demo struct {
	cmd      *exec.Cmd
	out, err *bytes.Buffer // to be read after Wait
	tmp      string
	mark     string // in the environment of the demo and of all that it starts
}

func newDemo(t *testing.T, env []string, args ...string) *demo {
	t.Helper()
	program := os.Getenv("DEMO_BIN")
	require.NotEmpty(t, program, "DEMO_BIN is not set: run this through `make e2e`")
	d := &demo{cmd: exec.Command(program, args...), out: &bytes.Buffer{}, err: &bytes.Buffer{}, tmp: t.TempDir()}
	d.mark = "GOLDTRAIL_E2E_DEMO=" + d.tmp
	d.cmd.Dir = filepath.Join("..", "..")
	d.cmd.Env = append(append(os.Environ(), "TMPDIR="+d.tmp, d.mark), env...)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.err
	return d
}

// requireNothingLeft checks that no file and no process of the demo is left.
func (d *demo) requireNothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(d.tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "files")
	assert.Empty(t, d.processes(t), "processes")
}

// processes are the running processes that the demo has started, by program.
func (d *demo) processes(t *testing.T) map[string]int {
	t.Helper()
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("no /proc: cannot look for processes")
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	found := map[string]int{}
	for _, file := range environs {
		environ, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(environ), "\x00"), d.mark) {
			continue // gone meanwhile, another user's, or not the demo's
		}
		dir := filepath.Dir(file)
		program, err := os.Readlink(filepath.Join(dir, "exe"))
		pid, pidErr := strconv.Atoi(filepath.Base(dir))
		if err != nil || pidErr != nil || pid == d.cmd.Process.Pid {
			continue
		}
		found[filepath.Base(program)] = pid
	}
	return found
}

func TestDemoOnce(t *testing.T) {
	d := newDemo(t, nil, "--once")
	require.NoError(t, d.cmd.Run(), "%s", d.err)
	d.requireNothingLeft(t)

	table := d.out.String()
	t.Log(table)
	edge := regexp.MustCompile(`(?m)^(\S+) +(\S+) +([0-9]+/)?[a-z0-9]+ +(allow|deny|unconfirmed) +[0-9,]+ +[0-9.]+ [kMG]?B +[0-9,]+ +2`)
	edges := edge.FindAllStringSubmatch(table, -1)
	assert.GreaterOrEqual(t, len(edges), 30, "edges")
	has := func(what string, matches func(source, destination, action string) bool) {
		assert.True(t, slices.ContainsFunc(edges, func(e []string) bool { return matches(e[1], e[2], e[4]) }), "no edge %s", what)
	}
	has("of monitoring", func(source, destination, _ string) bool {
		return strings.HasPrefix(source, "monitoring/") || strings.HasPrefix(destination, "monitoring/")
	})
	has("that was denied", func(_, _, action string) bool { return action == "deny" })
	has("to the internet", func(_, destination, _ string) bool { return destination == "internet" })

	assert.Contains(t, table, "100 % of 17 windows complete")

	summary := regexp.MustCompile(`([0-9]+) windows .* Goldmane's ([0-9]+) flows are ([0-9]+) records in Loki, as many as their coverage says\n`).FindStringSubmatch(table)
	require.NotNil(t, summary, "no summary")
	assert.Equal(t, "17", summary[1], "windows")
	assert.NotEqual(t, summary[2], summary[3], "both reporters of a flow are merged")
	truth := regexp.MustCompile(`the table holds what the simulator sent: ([0-9]+) pairs, 0 differ`).FindStringSubmatch(table)
	require.NotNil(t, truth, "nothing is said of what was sent")
	pairs, err := strconv.Atoi(truth[1])
	require.NoError(t, err)
	assert.Greater(t, pairs, 200, "pairs")
}

// With GOLDMANE=host:port the demo starts no simulator. The address is loopback here, as
// behind `kubectl port-forward`, and the certificate names Goldmane's Service.
func TestDemoReadsAnotherGoldmane(t *testing.T) {
	ca := newAuthority(t)
	client := ca.issue(t, "goldtrail", tomorrow())
	for _, tt := range []struct {
		name   string
		server stack.TLSFiles
		args   []string
		says   string
	}{
		{"mutual TLS", ca.issue(t, "goldmane", tomorrow()), []string{"--cert", client.Cert, "--key", client.Key, "--ca", client.CA}, "over mutual TLS\nits certificate must be for goldmane.calico-system.svc"},
		{"plaintext", stack.TLSFiles{}, nil, "in plaintext: no GOLDMANE_CERT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr, _, err := newStack(t).Simulator(t.Context(), stack.SimulatorOptions{TLS: tt.server, History: 30})
			require.NoError(t, err)
			d := newDemo(t, []string{"GOLDMANE_SIM_BIN=/nonexistent/goldmane-sim"}, append([]string{"--once", "--goldmane", addr}, tt.args...)...)
			require.NoError(t, d.cmd.Run(), "%s", d.err)
			assert.Contains(t, d.err.String(), tt.says)
			assert.Contains(t, d.out.String(), "17 windows")
			d.requireNothingLeft(t)
		})
	}
}

// Without --once the demo goes on, says what to try, and ends with status 0 when it is
// interrupted.
func TestDemoUntilInterrupted(t *testing.T) {
	d := newDemo(t, nil)
	interrupted := whenItSays(t, d, "Ctrl-C ends it", func() { assert.NoError(t, d.cmd.Process.Signal(os.Interrupt)) })
	require.NoError(t, d.cmd.Run(), "%s", d.err)
	assert.True(t, *interrupted)
	d.requireNothingLeft(t)
	assert.Contains(t, d.err.String(), "stopped")
}

// A part that dies takes the demo with it, and the demo tells which and why.
func TestDemoEndsWithItsParts(t *testing.T) {
	d := newDemo(t, nil)
	killed := whenItSays(t, d, "Ctrl-C ends it", func() {
		assert.NoError(t, syscall.Kill(d.processes(t)["otelcol-goldtrail"], syscall.SIGKILL))
	})
	err := d.cmd.Run()
	assert.True(t, *killed)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 1, exit.ExitCode())
	assert.Contains(t, d.err.String(), "demo: the demo cannot go on: otelcol-goldtrail ended: signal: killed; the last lines of")
	d.requireNothingLeft(t)
}

// A demo that cannot clean up, because it was killed, takes its processes with it all
// the same, where the kernel knows how.
func TestDemoThatIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends children with their parent")
	}
	d := newDemo(t, nil)
	started := map[string]int{}
	killed := whenItSays(t, d, "Ctrl-C ends it", func() {
		started = d.processes(t)
		assert.NoError(t, d.cmd.Process.Kill())
	})
	require.ErrorContains(t, d.cmd.Run(), "signal: killed")
	assert.True(t, *killed)
	assert.Contains(t, started, "otelcol-goldtrail")
	requireSoon(t, func(context.Context) error {
		if left := d.processes(t); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}

func TestDemoTellsWhyItFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"no Loki program", []string{"LOKI_URL=", "LOKI_BIN=/nonexistent/loki"}, nil, "demo: start loki: fork/exec /nonexistent/loki: no such file"},
		{"a Loki that ends", []string{"LOKI_URL=", "LOKI_BIN=/bin/false"}, nil, "demo: loki ended before it was ready: exit status 1"},
		{"half a certificate", nil, []string{"--goldmane", "127.0.0.1:1", "--cert", "x"}, "give all three"},
		{"a certificate without a Goldmane", nil, []string{"--cert", "x", "--key", "y", "--ca", "z"}, "GOLDMANE=host:port"},
		{"no Goldmane there", nil, []string{"--goldmane", "127.0.0.1:1"}, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDemo(t, tt.env, append(tt.args, "--once")...)
			var exit *exec.ExitError
			require.ErrorAs(t, d.cmd.Run(), &exit)
			assert.Equal(t, 1, exit.ExitCode())
			assert.Contains(t, d.err.String(), tt.want)
			assert.Empty(t, d.out.String())
			d.requireNothingLeft(t)
		})
	}
}

// whenItSays calls do when the demo has written text to standard error. It is over when
// the demo is, and the result tells whether do was called.
func whenItSays(t *testing.T, d *demo, text string, do func()) *bool {
	t.Helper()
	called := new(bool)
	d.cmd.Stderr = writerFunc(func(p []byte) (int, error) {
		n, err := d.err.Write(p)
		if !*called && strings.Contains(d.err.String(), text) {
			*called = true
			do()
		}
		return n, err
	})
	// It starts three programs and waits for 17 windows; with benchmarks beside it that took
	// over a minute once.
	const long = 3 * patience
	ctx, cancel := context.WithTimeout(t.Context(), long)
	stop := context.AfterFunc(ctx, func() {
		if t.Context().Err() == nil {
			_ = d.cmd.Process.Kill()
			fmt.Fprintln(os.Stderr, "the demo was killed: not done after", long)
		}
	})
	t.Cleanup(func() { stop(); cancel() })
	return called
}

// writerFunc is called by one goroutine, which cmd.Run waits for.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
