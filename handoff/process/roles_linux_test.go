package process_test

import (
	"context"
	"encoding/json"
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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/fdpass"
	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/handoff/timeline"
)

// roleHold opens the sockets that its arguments name, as network/address, prints them, and holds them until its standard
// input ends. "reuseport:N:" before a network makes N of them, "plain:" one without multipath TCP, and "blocking:" one whose
// calls block, as those of most programs in C or Python, and "connected:" a unixgram socket that is connected.
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
		arg, connected := strings.CutPrefix(arg, "connected:")
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
			if connected {
				if err := connectAway(sock); err != nil {
					fmt.Println(err)
					return 1
				}
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
	if err := fdpass.PassCred(r.(*net.UnixListener), true); err != nil && !errors.Is(err, errors.ErrUnsupported) { // before Linux 6.5
		return nil, err
	}
	return r, nil
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
		Trace: &handoff.Trace{Phase: func(c timeline.PhaseChange) { fmt.Println(c.To) }}})
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
