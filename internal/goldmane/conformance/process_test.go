package conformance

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a real Goldmane.
type process struct {
	address string
	cmd     *exec.Cmd
	exited  chan struct{}
	once    sync.Once
}

// realWindow is short, so that the suite is, and long enough for a window's flows to be
// sent well before its end.
const realWindow = 2 // seconds

func startReal(t *testing.T, bin string, files *pki) goldmaneServer {
	port := freePort(t)
	p := &process{address: fmt.Sprint("127.0.0.1:", port), exited: make(chan struct{})}
	p.cmd = exec.Command(bin)
	p.cmd.Env = []string{
		fmt.Sprint("PORT=", port),
		fmt.Sprintf("AGGREGATION_WINDOW=%ds", realWindow),
		fmt.Sprint("EMIT_AFTER_SECONDS=", 2*realWindow),
		fmt.Sprintf("EMITTER_AGGREGATION_WINDOW=%ds", 4*realWindow),
		"HEALTH_ENABLED=false",
		"LOG_LEVEL=warning",
	}
	if files != nil {
		p.cmd.Env = append(p.cmd.Env, "SERVER_CERT_PATH="+files.cert, "SERVER_KEY_PATH="+files.key, "CA_CERT_PATH="+files.ca)
	}
	var log bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &log, &log
	require.NoError(t, p.cmd.Start(), "GOLDMANE_BIN is %s", bin)
	go func() {
		_ = p.cmd.Wait() // how it ended is for the test to judge
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			tail := log.Bytes()
			t.Logf("the end of Goldmane's log:\n%s", tail[max(0, len(tail)-4000):])
		}
	})
	require.Eventually(t, func() bool {
		select {
		case <-p.exited:
			return true
		default:
		}
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			return false
		}
		require.NoError(t, conn.Close())
		return true
	}, patience, 20*time.Millisecond, "Goldmane does not listen")
	select {
	case <-p.exited:
		require.Fail(t, "Goldmane ended at once", "%s\n%s", p.cmd.ProcessState, log.String())
	default:
	}
	return p
}

func freePort(t *testing.T) int {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, lis.Close()) }()
	return lis.Addr().(*net.TCPAddr).Port
}

func (p *process) addr() string           { return p.address }
func (p *process) window() int64          { return realWindow }
func (p *process) now() int64             { return time.Now().Unix() }
func (p *process) ended() <-chan struct{} { return p.exited }

func (p *process) until(t *testing.T, at int64) {
	select {
	case <-time.After(time.Until(time.Unix(at, 0))):
	case <-t.Context().Done():
	}
}

// stop kills it: a real Goldmane has no other end either (it handles no signal).
func (p *process) stop() {
	p.once.Do(func() {
		select {
		case <-p.exited:
			return
		default:
		}
		if err := p.cmd.Process.Kill(); err != nil {
			fmt.Fprintln(os.Stderr, "conformance: Goldmane could not be killed:", err)
		}
		<-p.exited
	})
}
