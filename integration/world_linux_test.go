package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/decisions"
)

// patience bounds each wait for an event.
const patience = 15 * time.Second

// world is one test's processes and what they have told. It belongs to the test's goroutine.
type world struct {
	t    *testing.T
	dir  string
	addr string // for clients
	conf conf   // of what is started next
	env  []string
	cred *syscall.Credential // whom start starts processes as; nil: us
	wrap []string            // a command that executes the program, in a PID namespace of its own; none: as it is
	log  *os.File
	// adapt changes what start starts, if it is not nil.
	adapt func(*exec.Cmd)
	// signaled is called when SIGHUP was sent, if it is not nil.
	signaled func()

	mu      sync.Mutex
	events  []event
	changed chan struct{}
	procs   map[int]*proc
	expect  map[int]bool // direct children, which are waited for elsewhere
	wg      sync.WaitGroup
	closed  chan struct{}
}

// proc is a process of a world.
type proc struct {
	pid  int
	done chan struct{}
	// state is valid once done is closed, and nil of a process that is not our child.
	state *os.ProcessState
}

var worlds atomic.Int32

// newWorld makes a world for the role named, with addresses of its own: in parallel, also with other test binaries.
func newWorld(t *testing.T, role string) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue") // a short name, because a rendezvous has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	n := worlds.Add(1)
	addr := fmt.Sprintf("127.%d.%d.%d:7000", 64+os.Getpid()/250%128, 1+os.Getpid()%250, 1+n%250)
	w := &world{
		t: t, dir: dir, addr: addr, changed: make(chan struct{}), closed: make(chan struct{}),
		procs: map[int]*proc{}, expect: map[int]bool{},
		conf: conf{
			Events: filepath.Join(dir, "events"), Path: filepath.Join(dir, "segue.sock"), Listen: []string{"tcp/" + addr},
			Guard: 400 * time.Millisecond, StepTimeout: 5 * time.Second, ReadyTimeout: 20 * time.Second,
			DrainTimeout: 10 * time.Second,
		},
	}
	used.Lock()
	used.roles[role] = true
	used.Unlock()
	if err := unix.Mkfifo(w.conf.Events, 0o666); err != nil {
		t.Fatal(err)
	}
	if w.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	// For writing too, so that there is no end while nobody else writes.
	events, err := os.OpenFile(w.conf.Events, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.wg.Go(func() { w.read(events) })
	t.Cleanup(func() { w.close(events) })
	return w
}

// read collects events, and follows each process that shows up.
func (w *world) read(f *os.File) {
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = event{Ev: "garbled", Err: lines.Text()}
		}
		if e.Ev == "start" {
			w.follow(e.PID)
		}
		w.mu.Lock()
		w.events = append(w.events, e)
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
	}
}

// follow watches a process that is not our child, but may become it.
func (w *world) follow(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expect[pid] || w.procs[pid] != nil {
		return
	}
	p := &proc{pid: pid, done: make(chan struct{})}
	w.procs[pid] = p
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		close(p.done)
		return
	}
	w.wg.Go(func() {
		defer unix.Close(fd)
		for {
			n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n == 1 {
				break
			}
		}
		close(p.done)
		// Its parent reaps it, or its parent ends and then we do.
		for {
			got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
			if got == pid || err == unix.ECHILD && !exists(pid) {
				return
			}
			time.Sleep(10 * time.Millisecond) // a parent's end cannot be waited for
		}
	})
}

func exists(pid int) bool { return unix.Kill(pid, 0) == nil }

// start starts a process of a role with w.conf.
func (w *world) start(role string) *proc { return w.startAs(role, w.cred) }

func (w *world) startAs(role string, cred *syscall.Credential) *proc {
	w.t.Helper()
	exe, err := os.Executable()
	if err == nil && cred != nil { // go test keeps it where others have no access
		exe, err = w.copy(exe)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: cred}
	if len(w.wrap) > 0 {
		cmd = exec.Command(w.wrap[0], append(slices.Clone(w.wrap[1:]), exe)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID} // package syscall would miss the parent there
	}
	cmd.Env = append(os.Environ(), envRole+"="+role, envConf+"="+w.configure())
	// A process with the race detector lingers for a second before it exits.
	cmd.Env = append(cmd.Env, "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, w.env...)
	cmd.Dir = w.dir
	cmd.Stdout, cmd.Stderr = w.log, w.log
	if w.adapt != nil {
		w.adapt(cmd)
	}
	used.Lock()
	used.roles[role] = true
	used.Unlock()
	// Under the lock, so that the reader knows it for ours when it reads its first event.
	w.mu.Lock()
	err = cmd.Start()
	if err != nil {
		w.mu.Unlock()
		w.t.Fatal(err)
	}
	p := &proc{pid: cmd.Process.Pid, done: make(chan struct{})}
	w.expect[p.pid], w.procs[p.pid] = true, p
	w.mu.Unlock()
	w.wg.Go(func() {
		_ = cmd.Wait() // the state says it
		p.state = cmd.ProcessState
		close(p.done)
	})
	return p
}

// copy copies a program into the directory of the world.
func (w *world) copy(program string) (string, error) {
	b, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	name := filepath.Join(w.dir, "program")
	if _, err := os.Stat(name); err == nil {
		return name, nil // and perhaps running
	}
	// A child that is forked meanwhile would hold it open for writing, and then it cannot be executed (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return name, os.WriteFile(name, b, 0o755)
}

// configure writes w.conf for whoever starts next, and returns the file.
func (w *world) configure() string {
	w.t.Helper()
	b, err := json.Marshal(w.conf)
	if err != nil {
		w.t.Fatal(err)
	}
	// As a whole: one that starts reads this or that.
	name := filepath.Join(w.dir, "conf")
	if err := os.WriteFile(name+".new", b, 0o644); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		w.t.Fatal(err)
	}
	return name
}

// mark is a place in the events: what has been told until now.
func (w *world) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.events)
}

// await returns the first event after mark that matches.
func (w *world) await(mark int, what string, match func(event) bool) event {
	w.t.Helper()
	e, ok := w.poll(mark, patience, match)
	if !ok {
		w.t.Fatalf("no such event: %s", what)
	}
	return e
}

func (w *world) poll(mark int, d time.Duration, match func(event) bool) (event, bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		w.mu.Lock()
		for ; mark < len(w.events); mark++ {
			if match(w.events[mark]) {
				defer w.mu.Unlock()
				return w.events[mark], true
			}
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-t.C:
			return event{}, false
		}
	}
}

// of matches an event of a process; an empty msg is any.
func of(pid int, ev, msg string) func(event) bool {
	return func(e event) bool { return e.PID == pid && e.Ev == ev && (msg == "" || e.Msg == msg) }
}

// wait is await for one event of one process.
func (w *world) wait(mark, pid int, ev, msg string) event {
	w.t.Helper()
	return w.await(mark, fmt.Sprintf("%s %s of pid %d", ev, msg, pid), of(pid, ev, msg))
}

// serving starts the first generation and waits until it serves.
func (w *world) serving(role string) *proc {
	w.t.Helper()
	p := w.start(role)
	if e := w.wait(0, p.pid, "ready", ""); e.Err != "" {
		w.t.Fatalf("the first generation does not serve: %s", e.Err)
	}
	return p
}

// upgrade makes from start a successor with w.conf, and returns it when it has come up.
func (w *world) upgrade(from *proc) *proc {
	w.t.Helper()
	w.configure()
	mark := w.mark()
	w.signal(from, unix.SIGHUP)
	if w.signaled != nil {
		w.signaled()
	}
	e := w.await(mark, fmt.Sprintf("a successor started by pid %d", from.pid), func(e event) bool {
		return e.Ev == "start" && e.Parent == from.pid
	})
	return w.of(e.PID)
}

// of returns a process that has started.
func (w *world) of(pid int) *proc {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.procs[pid]
}

// succeed makes a successor with w.conf, in one of the two ways.
func (w *world) succeed(way string, from *proc, role string) *proc {
	w.t.Helper()
	if way == "upgrade" {
		return w.upgrade(from)
	}
	return w.start(role)
}

func (w *world) signal(p *proc, s syscall.Signal) {
	w.t.Helper()
	if err := unix.Kill(p.pid, s); err != nil {
		w.t.Fatalf("signal %v to pid %d: %v", s, p.pid, err)
	}
}

// stopped waits until a process that is about to stop itself has, all its threads.
func (w *world) stopped(p *proc) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) { // nothing tells
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
		if err != nil {
			w.t.Fatal(err)
		}
		if i := bytes.LastIndexByte(b, ')'); bytes.HasPrefix(b[i:], []byte(") T")) {
			return
		}
	}
	w.t.Fatalf("pid %d did not stop", p.pid)
}

// ended waits for the end of a process.
func (w *world) ended(p *proc) {
	w.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		w.t.Fatalf("pid %d still lives", p.pid)
	}
}

func (p *proc) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// close kills what is left, and shows what happened if the test failed.
func (w *world) close(events *os.File) {
	// One that is killed may just have started another: until nobody new shows up.
	for known := -1; ; {
		w.mu.Lock()
		procs := make([]*proc, 0, len(w.procs))
		for _, p := range w.procs {
			procs = append(procs, p)
		}
		w.mu.Unlock()
		for _, p := range procs {
			if p.alive() {
				_ = unix.Kill(p.pid, unix.SIGKILL)
			}
			<-p.done
		}
		if len(procs) == known {
			break
		}
		known = len(procs)
	}
	_ = events.Close()
	w.wg.Wait()
	_ = w.log.Close()
	b, _ := os.ReadFile(w.log.Name())
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(string(b), bad) {
			w.t.Errorf("%s in the output of the processes", bad)
		}
	}
	w.judge()
	if w.t.Failed() || os.Getenv("SEGUE_TEST_EVENTS") != "" {
		var s strings.Builder
		for _, e := range w.events {
			fmt.Fprintln(&s, e)
		}
		w.t.Logf("events:\n%s\noutput:\n%s", s.String(), b)
	}
	_ = os.RemoveAll(w.dir)
}

// judge fails the test if a process has decided what is no row of the tables in docs/protocol.md.
func (w *world) judge() {
	table, err := decisions.Read("../docs/protocol.md")
	if err != nil {
		w.t.Error(err)
	}
	var seen []decisions.Decision
	for _, e := range w.events {
		if e.Decided != nil {
			seen = append(seen, *e.Decided)
		}
	}
	for _, err := range table.Check(seen) {
		w.t.Error(err)
	}
	if err := decisions.Keep("integration", seen); err != nil {
		w.t.Error(err)
	}
}
