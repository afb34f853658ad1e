package tableflip_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	real "github.com/cloudflare/tableflip"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/handoff/tableflip"
	"github.com/segue-go/segue/handoff/timeline"
)

// A program is started with a directory as its argument. The file "version" in there says which version of it is installed:
// one that runs on tableflip, or one that runs on segue; "fails", "hangs" and "late" are versions that never get ready.
// "address" is where it listens, by TCP and UDP; "users" a Unix socket; "hub" is where its first process connects to.
// It prints "serving" with its kind and number.

// fixture is what both programs have in common.
type fixture struct {
	dir, version, address string
	log                   *slog.Logger
	mux                   *http.ServeMux
}

func program(dir string) int {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			fmt.Println(err)
		}
		return string(b)
	}
	f := fixture{dir: dir, version: read("version"), address: read("address"), mux: http.NewServeMux(),
		log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	answer := func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond) // the load asks for it
		w.Header().Set("X-Segue-Pid", strconv.Itoa(os.Getpid()))
		fmt.Fprintln(w, r.FormValue("token"))
	}
	f.mux.HandleFunc("/token", answer)
	f.mux.HandleFunc("/slow", answer)
	kind, _, _ := strings.Cut(f.version, " ")
	run := f.tableflip
	if kind == "segue" {
		run = f.segue
	}
	if err := run(); err != nil {
		fmt.Println(kind, "failed:", err)
		return 3
	}
	return 0
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// is reports whether this version has a fault.
func (f *fixture) is(fault string) bool { return strings.HasSuffix(f.version, " "+fault) }

// serving is called when a process is ready.
func (f *fixture) serving(kind string, file *os.File, hub net.Conn) {
	fmt.Fprintln(file, kind, os.Getpid())
	fmt.Fprintln(hub, os.Getpid())
	fmt.Println("serving", kind, os.Getpid())
}

// dialHub connects to the hub.
func (f *fixture) dialHub() (net.Conn, error) {
	b, err := os.ReadFile(f.path("hub"))
	if err != nil {
		return nil, err
	}
	return net.Dial("tcp", string(b))
}

// echo answers datagrams until pc gives none any more.
func echo(pc net.PacketConn) {
	b := make([]byte, 100)
	for {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = pc.WriteTo(b[:n], from)
	}
}

// tableflip is the program as its authors wrote it, after the README of tableflip.
func (f *fixture) tableflip() error {
	parent := os.Getppid()
	upg, err := real.New(real.Options{PIDFile: f.path("pid"), UpgradeTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer upg.Stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	var stopping atomic.Bool
	go func() {
		for s := range signals {
			if s == syscall.SIGTERM {
				stopping.Store(true)
				upg.Stop()
				return
			}
			for { // it waits for its own parent to end, which it says by an error alone
				err := upg.Upgrade()
				if err == nil || err.Error() != "parent hasn't exited" {
					fmt.Println("upgrade:", err)
					break
				}
				time.Sleep(10 * time.Millisecond) // polling
			}
		}
	}()
	lns := make([]net.Listener, 2)
	if lns[0], err = upg.Listen("tcp", f.address); err != nil {
		return err
	}
	if lns[1], err = upg.Listen("unix", f.path("users")); err != nil {
		return err
	}
	pc, err := upg.ListenPacket("udp", f.address)
	if err != nil {
		return err
	}
	file, err := upg.File("log")
	if err == nil && file == nil {
		if file, err = os.Create(f.path("log")); err == nil {
			err = upg.AddFile("log", file)
		}
	}
	if err != nil {
		return err
	}
	hub, err := upg.Conn("tcp", "hub")
	if err == nil && hub == nil {
		if hub, err = f.dialHub(); err == nil {
			err = upg.AddConn("tcp", "hub", hub.(real.Conn))
		}
	}
	if err != nil {
		return err
	}
	switch {
	case f.is("fails"):
		upg.Stop() // as the deferred call; it removes paths, in a goroutine of its own
		<-upg.Exit()
		return errors.New("bad configuration")
	case f.is("exits"):
		os.Exit(4)
	case f.is("hangs"):
		select {}
	}
	srv := &http.Server{Handler: f.mux}
	var accepted sync.WaitGroup
	for _, l := range lns {
		go func() { _ = srv.Serve(&counted{Listener: l, open: &accepted}) }()
	}
	var echoing sync.WaitGroup
	echoing.Go(func() { echo(pc) })
	if err := upg.Ready(); err != nil {
		return err
	}
	f.serving("tableflip", file, hub)
	if upg.HasParent() {
		go func() {
			err := upg.WaitForParent(context.Background())
			fmt.Println("waited for the parent:", err, "it has ended:", hasEnded(parent))
		}()
	}
	<-upg.Exit()
	if b, _ := os.ReadFile(f.path("pid")); !stopping.Load() && strings.TrimSpace(string(b)) == strconv.Itoa(os.Getpid()) {
		fmt.Println("the PID file names this process, which was told that another one serves")
		defer os.Exit(5)
	}
	_ = pc.SetReadDeadline(time.Now())
	echoing.Wait()
	// Not by Shutdown, which gives no answer to a request that it reads after it began, on a new connection too, and knows nothing of
	// what was just accepted (golang/go#33313): what that loses would be the old program's fault, and hide what is not.
	for _, l := range lns {
		_ = l.Close()
	}
	srv.SetKeepAlivesEnabled(false)
	accepted.Wait()
	return nil
}

// hasEnded reports whether a process is gone, or about to be: it closes its files before it is a zombie, and is PF_EXITING by then
// (do_exit in kernel/exit.c).
func hasEnded(pid int) bool {
	const pfExiting = 0x4
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])) // proc_pid_stat(5): from the third on
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&pfExiting != 0 || fields[0] == "Z" || fields[0] == "X"
}

// counted counts connections.
type counted struct {
	net.Listener
	open *sync.WaitGroup
}

func (l *counted) Accept() (net.Conn, error) {
	l.open.Add(1)
	c, err := l.Listener.Accept()
	if err != nil {
		l.open.Done()
		return nil, err
	}
	return &countedConn{Conn: c, closed: sync.OnceFunc(l.open.Done)}, nil
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// segue is the same program on segue.
func (f *fixture) segue() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	rollback := make(chan os.Signal, 1)
	signal.Notify(rollback, syscall.SIGUSR2)
	parent, err := tableflip.Inherit(ctx, tableflip.Options{Logger: f.log})
	if err != nil {
		return err
	}
	draining := make(chan struct{})
	gen, err := handoff.Join(ctx, handoff.Config{
		Path:    f.path("segue"),
		PIDFile: f.path("pid"),
		Signals: []os.Signal{syscall.SIGHUP},
		Sources: []handoff.Source{parent.Source()},
		Logger:  f.log, ReadyTimeout: 5 * time.Second, DrainTimeout: 20 * time.Second,
		Trace: &handoff.Trace{Phase: func(c timeline.PhaseChange) {
			if c.To == handoff.PhaseDraining {
				close(draining)
			}
		}},
	})
	if err != nil {
		return err
	}
	defer gen.Close()
	srv := &http.Server{Handler: f.mux}
	var servers []serve.Server
	for _, l := range [][2]string{{"tcp", f.address}, {"unix", f.path("users")}} {
		ln, err := gen.Listen(ctx, l[0], l[1])
		if err != nil {
			return err
		}
		servers = append(servers, serve.HTTP(srv, ln))
	}
	pc, err := gen.ListenPacket(ctx, "udp", f.address)
	if err != nil {
		return err
	}
	file, err := gen.File(ctx, "log", func() (*os.File, error) { return os.Create(f.path("log")) })
	if err != nil {
		return err
	}
	if f.is("fails") {
		return errors.New("bad configuration")
	}
	var hub net.Conn
	switch {
	case parent.Present():
		hub, err = parent.Conn("tcp", "hub")
	case gen.Status().Generation > 1:
		// The predecessor gives it when it drains.
	default:
		hub, err = f.dialHub()
	}
	if err != nil {
		return err
	}
	go echo(pc)
	servers = append(servers, serve.Worker(func(ctx context.Context) error { // runs when this process owns
		if hub == nil {
			if hub, _, err = gen.Take(ctx, "hub"); err != nil {
				return err
			}
		}
		fmt.Println("sentinel", os.Getenv("TABLEFLIP_HAS_PARENT_7DIU3"))
		f.serving("segue", file, hub)
		fmt.Println("parent ended", parent.Wait(ctx))
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-rollback:
				go func() {
					err := tableflip.Rollback(context.Background(), gen, tableflip.RollbackOptions{
						Conns: []tableflip.Conn{{Network: "tcp", Address: "hub", Conn: hub.(syscall.Conn)}}})
					fmt.Println("rollback:", err)
				}()
			}
		}
	}))
	go func() {
		<-draining
		_ = gen.Give(context.Background(), "hub", hub, nil) // refused after a rollback, which has handed it over already
	}()
	return serve.Run(ctx, gen, servers...)
}
