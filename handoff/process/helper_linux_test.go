package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/handoff/serve"
)

// patience bounds every wait; none comes near it unless a test fails.
const patience = time.Minute

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ordinary is a user who is nobody in particular.
var ordinary = &syscall.Credential{Uid: 54321, Gid: 54321}

// eachUser runs a test as the user that the tests run as, and as an ordinary one.
func eachUser(t *testing.T, f func(t *testing.T, as *syscall.Credential)) {
	t.Run("us", func(t *testing.T) { f(t, nil) })
	t.Run("ordinary user", func(t *testing.T) {
		needRoot(t)
		f(t, ordinary)
	})
}

// needRoot skips a test that needs root, to start programs as another user or in another namespace. CI runs as root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root")
	}
}

// skip skips a test, or fails it in CI.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// until waits for what cannot be waited for.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(time.Millisecond) // polling
	}
}

// program returns the path of a program that a test needs. Where it is missing, the test is skipped, or fails in CI.
func program(t *testing.T, how string, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	skip(t, fmt.Sprintf("missing: %s; for example: %s", paths[len(paths)-1], how))
	return ""
}

// workDir makes a directory that belongs to a user, with a short name, because it may be for a Unix socket.
func workDir(t *testing.T, as *syscall.Credential) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if as != nil {
		must(t, os.Chown(dir, int(as.Uid), int(as.Gid)))
	}
	return dir
}

// child is a process that a test started.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	done  chan struct{} // closed when it has ended, and was waited for
	err   error         // valid then

	mu     sync.Mutex
	output strings.Builder
}

// start starts a command as a user. Its output is shown if the test fails; it is killed at the end.
func start(t *testing.T, as *syscall.Credential, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{t: t, cmd: cmd, lines: make(chan string, 1000), done: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if as != nil {
		cmd.SysProcAttr.Credential = as
	}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	r, w, err := os.Pipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	c.in, err = cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	_ = w.Close()
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(c.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			c.mu.Lock()
			fmt.Fprintln(&c.output, s.Text())
			c.mu.Unlock()
			select {
			case c.lines <- s.Text():
			default: // nobody reads so much
			}
		}
	})
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		select {
		case <-c.done:
		default: // the children too: it is in a process group of its own, which exists at least until it is waited for
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		<-c.done
		_ = r.SetReadDeadline(time.Now().Add(time.Second)) // a grandchild may have it still
		reading.Wait()
		_ = r.Close()
		if t.Failed() {
			t.Logf("%v, process %d, ended with %v, and printed:\n%s", cmd.Args, cmd.Process.Pid, c.err, c.output.String())
		}
	})
	return c
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// line waits for a line that begins with prefix, and returns what follows.
func (c *child) line(prefix string) string {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case l, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("%v ended without printing %q", c.cmd.Args, prefix)
			}
			if rest, ok := strings.CutPrefix(l, prefix); ok {
				return rest
			}
		case <-timeout:
			c.t.Fatalf("%v does not print %q", c.cmd.Args, prefix)
		}
	}
}

// wait waits until it has ended.
func (c *child) wait() error {
	c.t.Helper()
	select {
	case <-c.done:
		return c.err
	case <-time.After(patience):
		c.t.Fatalf("%v, process %d, does not end", c.cmd.Args, c.pid())
		return nil
	}
}

// play starts this test binary in a role. /proc/self/exe is open to users who may not enter the directory.
func play(t *testing.T, as *syscall.Credential, role string, args ...string) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), envRole+"="+role, "GOCOVERDIR="+os.TempDir())
	return start(t, as, cmd)
}

// roleHold opens the sockets that its arguments name, as network/address, prints them, and holds them until its standard
// input ends. "reuseport:N:" before a network makes N of them, "plain:" one without multipath TCP, and "blocking:" one whose
// calls block, as those of most programs in C or Python.
func roleHold(args []string) int {
	ctx := context.Background()
	for _, arg := range args {
		if arg == "rendezvous" {
			r, err := holdRendezvous()
			if err != nil {
				fmt.Println(err)
				return 1
			}
			defer r.Close()
			continue
		}
		if arg == "undumpable" { // as who changed its user
			if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
				fmt.Println(err)
				return 1
			}
			continue
		}
		n, lc := 1, net.ListenConfig{}
		if rest, ok := strings.CutPrefix(arg, "reuseport:"); ok {
			count, rest, _ := strings.Cut(rest, ":")
			n, _ = strconv.Atoi(count)
			arg = rest
			lc.Control = reusePort
		}
		if rest, ok := strings.CutPrefix(arg, "plain:"); ok {
			arg = rest
			lc.SetMultipathTCP(false)
		}
		arg, blocking := strings.CutPrefix(arg, "blocking:")
		network, address, _ := strings.Cut(arg, "/")
		for range n {
			var addr net.Addr
			var sock syscall.Conn
			switch network {
			case "udp", "udp4", "udp6", "unixgram":
				c, err := lc.ListenPacket(ctx, network, address)
				if err != nil {
					fmt.Println(err)
					return 1
				}
				defer c.Close()
				addr, sock = c.LocalAddr(), c.(syscall.Conn)
			default:
				l, err := lc.Listen(ctx, network, address)
				if err != nil {
					fmt.Println(err)
					return 1
				}
				defer l.Close()
				if u, ok := l.(*net.UnixListener); ok {
					u.SetUnlinkOnClose(false) // that it would remove the path is a limit of what can be taken over; see the package
				}
				addr, sock = l.Addr(), l.(syscall.Conn)
			}
			if blocking {
				if err := clearNonblock(sock); err != nil {
					fmt.Println(err)
					return 1
				}
			}
			address = addr.String()
			fmt.Println("holds", address)
		}
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// holdRendezvous listens as segue does for successors.
func holdRendezvous() (net.Listener, error) {
	r, err := net.Listen("unixpacket", "@segue-test-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		return nil, err
	}
	return r, fdpass.PassCred(r.(*net.UnixListener), true)
}

func reusePort(_, _ string, c syscall.RawConn) error {
	var opErr error
	if err := c.Control(func(fd uintptr) {
		opErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return opErr
}

func clearNonblock(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	if err := raw.Control(func(n uintptr) { opErr = unix.SetNonblock(int(n), false) }); err != nil {
		return err
	}
	return opErr
}

// roleMaster starts a process that holds what its arguments name, and has nothing itself.
func roleMaster(args []string) int {
	if args[0] == "rendezvous" {
		args = args[1:]
		r, err := holdRendezvous()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer r.Close()
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), envRole+"=hold")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// settings are the argument of roleServe.
type settings struct {
	PID    int
	Listen []string // network/address
	Signal syscall.Signal
	Idle   time.Duration
	Path   string
}

// roleServe is a server that takes its sockets from another process: a program as anybody would write it. It prints
// "serving" when it does.
func roleServe(args []string) int {
	var c settings
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		fmt.Println(err)
		return 64
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	src := process.Sockets(c.PID, process.Options{Signal: c.Signal, Idle: c.Idle, Logger: log})
	err := serveFrom(ctx, src, c, log)
	if closeErr := src.Close(); closeErr != nil {
		fmt.Println("source:", closeErr)
	}
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	return 0
}

func serveFrom(ctx context.Context, src *process.Source, c settings, log *slog.Logger) error {
	gen, err := handoff.Join(ctx, handoff.Config{Path: c.Path, Sources: []handoff.Source{src}, Logger: log, DrainTimeout: 5 * time.Second,
		Trace: &handoff.Trace{Phase: func(_, to handoff.Phase) { fmt.Println(to) }}})
	if err != nil {
		return err
	}
	defer gen.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Segue-Pid", strconv.Itoa(os.Getpid()))
		fmt.Fprintln(w, "Go", r.FormValue("token"))
	})
	srv := &http.Server{Handler: mux}
	var servers []serve.Server
	for _, l := range c.Listen {
		network, address, _ := strings.Cut(l, "/")
		ln, err := gen.Listen(ctx, network, address)
		if err != nil {
			return err
		}
		servers = append(servers, serve.HTTP(srv, ln))
	}
	return serve.Run(ctx, gen, servers...)
}

// server starts roleServe.
func server(t *testing.T, as *syscall.Credential, c settings) *child {
	t.Helper()
	c.Path = filepath.Join(workDir(t, as), "s")
	b, err := json.Marshal(c)
	must(t, err)
	return play(t, as, "serve", string(b))
}

// roleRefuse tries what its argument, a process, is expected to be closed to, and prints the errors.
func roleRefuse(args []string) int {
	pid, _ := strconv.Atoi(args[0])
	p, err := process.Open(pid)
	if err != nil {
		fmt.Println("open:", err)
		return 1
	}
	defer p.Close()
	_, err = p.List(context.Background())
	fmt.Println("list:", err)
	fmt.Println("signal:", p.Signal(syscall.SIGTERM))
	src := process.Sockets(pid, process.Options{MayBeGone: true})
	_, err = src.Open(context.Background(), "", "tcp", args[1])
	fmt.Println("open:", err)
	_ = src.Close()
	all, refused, err := process.All(context.Background())
	fmt.Println("all:", err)
	for _, s := range all {
		for _, h := range s.Holders {
			if h.PID == pid {
				fmt.Println("all: has", s)
			}
		}
	}
	fmt.Println("refused:", refused)
	return 0
}

// freeAddress returns an address that was free a moment ago, for programs that cannot choose one themselves.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// accepting waits until somebody listens at addr.
func accepting(t *testing.T, c *child, addr string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-c.done:
			t.Fatalf("%v ended: %v", c.cmd.Args, c.err)
		case <-time.After(10 * time.Millisecond): // to be tried again, with a deadline
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
	}
}
