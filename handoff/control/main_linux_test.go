package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/handoff/timeline"
	"github.com/segue-go/segue/integration/leak"
)

// patience bounds each wait of a test.
const patience = 15 * time.Second

// secret is in the state of the role of that name.
const secret = "it-is-not-for-everybody"

const envRole, envPath, envListen = "SEGUE_TEST_ROLE", "SEGUE_TEST_PATH", "SEGUE_TEST_LISTEN"

func TestMain(m *testing.M) {
	switch role := os.Getenv(envRole); role {
	case "":
		os.Exit(leak.Main(m))
	case "broken":
		fmt.Fprintln(os.Stderr, "cannot find my configuration")
		os.Exit(3)
	default:
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// play is a server that says its token back. Its successors play the role that the file beside the rendezvous names.
func play(role string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	path := os.Getenv(envPath)
	c := handoff.Config{
		Path: path, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Guard: 200 * time.Millisecond, DrainTimeout: 5 * time.Second, ReadyTimeout: 10 * time.Second,
		Command: commandFor(path),
	}
	switch role {
	case "patient":
		c.DrainTimeout = time.Minute
	case "probation":
		c.Probation = time.Minute
	case "strict":
		c.Authorize = func(handoff.Peer) error { return errors.New("nobody may") }
	}
	gen, err := handoff.Join(ctx, c)
	if err != nil {
		return err
	}
	defer func() { _ = gen.Close() }()
	ln, err := gen.Listen(ctx, "tcp", os.Getenv(envListen))
	if err != nil {
		return err
	}
	for i := range 40 {
		if role == "bare" {
			break
		} // more than fit one message of their kind
		if _, err := gen.ListenAs(ctx, fmt.Sprintf("more-%d", i), "unix", fmt.Sprintf("%s.%d", path, i), nil); err != nil {
			return err
		}
	}
	if role == "secret" {
		err := gen.State("secret", handoff.Section{
			Save:    func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, secret); return err },
			Restore: func(_ context.Context, r *io.SectionReader) error { _, err := io.Copy(io.Discard, r); return err },
		})
		if err != nil {
			return err
		}
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("hold") != "" { // until it is cut off
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
		fmt.Fprintln(w, r.FormValue("token"))
	})
	return serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: handler}, ln))
}

// commandFor starts successors that play the role in the file beside the rendezvous; "good" without it.
func commandFor(path string) func() *exec.Cmd {
	return func() *exec.Cmd {
		role, err := os.ReadFile(path + ".role")
		if err != nil {
			role = []byte("good")
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), envRole+"="+string(role))
		return cmd
	}
}

// start starts the first generation of a chain, and returns its process when it answers.
func start(t *testing.T, path, addr, role string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envRole+"="+role, envPath+"="+path, envListen+"="+addr)
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = (&control.Client{Path: path, Settle: time.Millisecond}).Stop(bounded(t)) // whoever serves by now
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("the log:\n%s", out)
		}
	})
	await(t, "the control socket", func() bool {
		info, err := os.Stat(path + ".control")
		return err == nil && info.Mode().Perm() == 0o600
	})
	return cmd
}

// now asks for the status of the generation that serves.
func now(t *testing.T, c *control.Client) (timeline.Generation, error) {
	t.Helper()
	chain, err := c.Status(bounded(t))
	if err != nil {
		return timeline.Generation{}, err
	}
	return chain.Generations[0], nil
}

// rendezvous returns a path that is short enough for a socket.
func rendezvous(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

// is fails the test unless err is want, and says these words.
func is(t *testing.T, what string, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v; want %q in it", what, err, w)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
