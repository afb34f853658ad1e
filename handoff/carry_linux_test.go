package handoff_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
	"golang.org/x/sys/unix"
)

// sockopt asks the kernel about a connection.
func sockopt(t *testing.T, c net.Conn, level, option int) int {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var v int
	if cErr := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), level, option) }); cErr != nil || err != nil {
		t.Fatal(cErr, err)
	}
	return v
}

// accepted is a connection that l has accepted.
func accepted(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	dial(t, l.Addr())
	conns, errs := make(chan net.Conn, 1), make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			errs <- err
			return
		}
		conns <- c
	}()
	select {
	case c := <-conns:
		t.Cleanup(func() { _ = c.Close() })
		return c
	case err := <-errs:
		t.Fatalf("Accept: %v", err)
	case <-time.After(patience):
		t.Fatal("nothing is accepted")
	}
	return nil
}

// TestKeepAliveTravels: net.FileListener forgets how a listener was made; a successor does not, over generations.
func TestKeepAliveTravels(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lc     net.ListenConfig // of the first generation
		last   net.ListenConfig // of the third
		on     int
		idle   int
		lastOn int
	}{
		{name: "default", on: 1, idle: 15, lastOn: 1},
		{name: "off", lc: net.ListenConfig{KeepAlive: -1}, on: 0, lastOn: 0},
		{name: "duration", lc: net.ListenConfig{KeepAlive: 77 * time.Second}, on: 1, idle: 77, lastOn: 1},
		{
			name: "configuration", on: 1, idle: 33, lastOn: 1,
			lc: net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 33 * time.Second, Interval: 9 * time.Second, Count: 4}},
		},
		{
			name: "the successor's own goes before", on: 1, idle: 77, lastOn: 0,
			lc: net.ListenConfig{KeepAlive: 77 * time.Second}, last: net.ListenConfig{KeepAlive: -1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := rendezvous(t)
			check := func(who string, l net.Listener, on int) {
				t.Helper()
				c := accepted(t, l)
				if got := sockopt(t, c, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != on {
					t.Errorf("%s: SO_KEEPALIVE is %d, want %d", who, got, on)
				}
				if on == 0 {
					return
				}
				if got := sockopt(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); got != tt.idle {
					t.Errorf("%s: TCP_KEEPIDLE is %d, want %d", who, got, tt.idle)
				}
				if k := tt.lc.KeepAliveConfig; k.Enable {
					if got := sockopt(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL); got != int(k.Interval/time.Second) {
						t.Errorf("%s: TCP_KEEPINTVL is %d, want %v", who, got, k.Interval)
					}
					if got := sockopt(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPCNT); got != k.Count {
						t.Errorf("%s: TCP_KEEPCNT is %d, want %d", who, got, k.Count)
					}
				}
			}
			ca, cc := config(t, path), config(t, path)
			ca.ListenConfig, cc.ListenConfig = tt.lc, tt.last
			a, la := first(t, ca)
			check("the first", la, tt.on)
			b := join(t, config(t, path))
			lb := listen(t, b, "tcp", "127.0.0.1:0")
			supersede(t, a, b)
			check("the second", lb, tt.on)
			c := join(t, cc)
			lc := listen(t, c, "tcp", "127.0.0.1:0")
			supersede(t, b, c)
			check("the third", lc, tt.lastOn)
		})
	}
}

// TestUnlinkOnCloseTravels: the program says once that a path is to stay, and it stays over generations.
func TestUnlinkOnCloseTravels(t *testing.T) {
	path := rendezvous(t)
	sock := filepath.Join(filepath.Dir(path), "web")
	a := join(t, config(t, path))
	la := listen(t, a, "unix", sock)
	la.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	ready(t, a)
	b := join(t, config(t, path))
	lb := listen(t, b, "unix", sock)
	if lb.(interface{ UnlinkOnClose() bool }).UnlinkOnClose() {
		t.Error("the successor would unlink the path")
	}
	supersede(t, a, b)
	shut(t, b)
	if _, err := os.Lstat(sock); err != nil {
		t.Errorf("the path is gone: %v", err)
	}
}

// TestForeignPathStays: a path that somebody has bound anew is not ours to remove.
func TestForeignPathStays(t *testing.T) {
	for _, of := range []string{"socket", "file", "rendezvous"} {
		t.Run(of, func(t *testing.T) {
			path := rendezvous(t)
			sock := filepath.Join(filepath.Dir(path), "web")
			a := join(t, config(t, path))
			listen(t, a, "unix", sock)
			ready(t, a)
			b := join(t, config(t, path))
			listen(t, b, "unix", sock)
			supersede(t, a, b)
			foreign := sock
			if of == "rendezvous" {
				foreign = path
			}
			if err := os.Remove(foreign); err != nil {
				t.Fatal(err)
			}
			if of == "file" {
				if err := os.WriteFile(foreign, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			} else {
				l, err := net.Listen("unix", foreign)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			}
			shut(t, b)
			if _, err := os.Lstat(foreign); err != nil {
				t.Errorf("another's %s was removed: %v", of, err)
			}
		})
	}
}

// TestPathsRemovedByTheLast: a superseded generation removes nothing, the last one everything.
func TestPathsRemovedByTheLast(t *testing.T) {
	path := rendezvous(t)
	sock := filepath.Join(filepath.Dir(path), "web")
	generations := []*handoff.Generation{join(t, config(t, path))}
	listen(t, generations[0], "unix", sock)
	ready(t, generations[0])
	for range 3 {
		last := generations[len(generations)-1]
		g := join(t, config(t, path))
		listen(t, g, "unix", sock)
		supersede(t, last, g)
		shut(t, last)
		for _, p := range []string{sock, path} {
			if _, err := os.Lstat(p); err != nil {
				t.Fatalf("a superseded generation removed %v", err)
			}
		}
		generations = append(generations, g)
	}
	shut(t, generations[len(generations)-1])
	for _, p := range []string{sock, path, path + ".lock"} {
		if _, err := os.Lstat(p); !os.IsNotExist(err) {
			t.Errorf("%s was left behind: %v", p, err)
		}
	}
}

// staleSocket leaves what a process that was killed leaves.
func staleSocket(t *testing.T, network, path string) {
	t.Helper()
	if network == "unixgram" {
		c, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		return
	}
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
}

// TestStalePaths: what a killed generation left behind is bound anew; what somebody uses is not.
func TestStalePaths(t *testing.T) {
	path := rendezvous(t)
	dir := filepath.Dir(path)
	staleSocket(t, "unixpacket", path)
	a := join(t, config(t, path))
	for _, network := range []string{"unix", "unixpacket"} {
		sock := filepath.Join(dir, network)
		staleSocket(t, network, sock)
		listen(t, a, network, sock)
	}
	sock := filepath.Join(dir, "unixgram")
	staleSocket(t, "unixgram", sock)
	listenPacket(t, a, "unixgram", sock)

	used := filepath.Join(dir, "used")
	l, err := net.Listen("unix", used)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = a.Listen(bounded(t), "unix", used)
	wantErr(t, "Listen on a path in use", err, syscall.EADDRINUSE)
	c, err := net.Dial("unix", used)
	if err != nil {
		t.Fatalf("the one in use was removed: %v", err)
	}
	_ = c.Close()

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = a.Listen(bounded(t), "unix", file)
	wantErr(t, "Listen on a file", err, syscall.EADDRINUSE)
	if _, err := os.Lstat(file); err != nil {
		t.Errorf("a file that is no socket was removed: %v", err)
	}
	ready(t, a)
	b := join(t, config(t, path)) // the rendezvous works
	supersede(t, a, b)

	_, err = handoff.Join(bounded(t), config(t, file))
	if err == nil {
		t.Error("a file was taken for a rendezvous")
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("the file has %q, %v", got, err)
	}
}
