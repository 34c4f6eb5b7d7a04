package goldmanereceiver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/goldtrail/goldtrail/receiver/goldmanereceiver/internal/metadata"
)

// child is what a receiver's process is told, in its environment. Later leaps of the
// timeline come on its standard input.
type child struct {
	Live     bool          `json:"live"`
	Timeline *timeline     `json:"timeline"` // nil is the wall's time
	Window   time.Duration `json:"window"`
	Goldmane string        `json:"goldmane"`
	Sink     string        `json:"sink"`
	Storage  string        `json:"storage"`
}

const (
	childEnv = "GOLDTRAIL_LEDGER_CHILD"
	// ledgerMessageMiB has room for a window of more than one batch.
	ledgerMessageMiB = 2
)

// config is the receiver's in such a process: the defaults, with all times scaled to
// the window.
func (c *child) config() *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.Endpoint, cfg.TLS.Insecure, cfg.StorageID = c.Goldmane, true, &fileStorage
	scale := func(d *time.Duration) { *d = time.Duration(float64(*d) * c.Window.Seconds() / defaultWindow.Seconds()) }
	cfg.Window = c.Window
	scale(&cfg.FlushInterval)
	scale(&cfg.SettleDelay)
	scale(&cfg.RecheckDelay)
	scale(&cfg.Retry.MaxInterval)
	// gRPC takes this one too, for pauses on the wall.
	cfg.Retry.InitialInterval = 50 * time.Millisecond
	cfg.MaxListShare = 1 // the test is to be quick, also where the race detector is slow
	cfg.MaxRecvMsgSizeMiB = ledgerMessageMiB
	cfg.Live, cfg.MergeReporters = c.Live, !c.Live
	cfg.ListTimeout = 300 * time.Millisecond // on the wall
	return cfg
}

// TestLedgerChild is a receiver in a process of its own, for TestLedger to kill.
func TestLedgerChild(t *testing.T) {
	var c child
	if os.Getenv(childEnv) == "" {
		t.Skip("it is started by TestLedger")
	}
	require.NoError(t, json.Unmarshal([]byte(os.Getenv(childEnv)), &c))
	conn, err := grpc.NewClient(c.Sink, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	client := plogotlp.NewGRPCClient(conn)
	next, err := consumer.NewLogs(func(ctx context.Context, logs plog.Logs) error {
		_, err := client.Export(ctx, plogotlp.NewExportRequestFromLogs(logs))
		return err
	})
	require.NoError(t, err)

	factory := filestorage.NewFactory()
	conf := factory.CreateDefaultConfig().(*filestorage.Config)
	conf.Directory = c.Storage
	extension, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), conf)
	require.NoError(t, err)
	host := &rig{t: t, extensions: map[component.ID]component.Component{fileStorage: extension}}
	require.NoError(t, extension.Start(context.Background(), host))

	cfg := c.config()
	require.NoError(t, cfg.Validate())
	set := receivertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	set.Logger, err = zap.NewDevelopment(zap.AddStacktrace(zap.FatalLevel))
	require.NoError(t, err)
	receiver, err := newReceiver(set, cfg, next)
	require.NoError(t, err)
	leapTo := func(leap) {}
	if c.Timeline != nil {
		clock := newTimelineClock(t, *c.Timeline)
		receiver.clock, leapTo = clock, clock.leap
	}
	require.NoError(t, receiver.Start(context.Background(), host))
	for orders := json.NewDecoder(os.Stdin); ; { // until it is killed, or its parent has died
		var l leap
		err := orders.Decode(&l)
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		leapTo(l)
	}
}

// process is a running child.
type process struct {
	cmd    *exec.Cmd
	orders *json.Encoder
	done   chan struct{}
	killed bool
}

func (c *child) start(t *testing.T, log io.Writer) *process {
	t.Helper()
	env, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLedgerChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+string(env))
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd, orders: json.NewEncoder(stdin), done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	return p
}

// kill is SIGKILL, and waits for the end.
func (p *process) kill() {
	p.killed = true
	_ = p.cmd.Process.Kill()
	<-p.done
}

// tail keeps the last lines of a log, for when the test fails.
type tail struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := bufio.NewScanner(strings.NewReader(string(b))); s.Scan(); {
		l.lines = append(l.lines, s.Text())
	}
	l.lines = l.lines[max(0, len(l.lines)-200):]
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintln(strings.Join(l.lines, "\n"))
}
