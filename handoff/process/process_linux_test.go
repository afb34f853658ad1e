package process_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/listener"
)

// TestKinds lists and takes sockets of every kind, from the process itself and from a child.
func TestKinds(t *testing.T) {
	for _, role := range []string{"hold", "master"} {
		t.Run(role, func(t *testing.T) {
			dir := workDir(t, nil)
			abstract := fmt.Sprintf("@segue-test-%d-%s", os.Getpid(), role)
			args := []string{"tcp4/127.0.0.1:0", "plain:tcp4/127.0.0.1:0", "tcp/:0", "udp4/127.0.0.1:0", "udp/:0", "unix/" + dir + "/stream",
				"unixgram/" + dir + "/dgram", "unixpacket/" + abstract}
			if hasIPv6() {
				args = append(args, "tcp6/[::1]:0", "udp6/[::1]:0")
			}
			c := play(t, nil, role, args...)
			type held struct{ network, address string }
			want := map[held]bool{}
			for _, arg := range args {
				network, _, _ := strings.Cut(strings.TrimPrefix(arg, "plain:"), "/")
				want[held{strings.TrimRight(network, "46"), c.line("holds ")}] = true
			}
			p, err := process.Open(c.pid())
			must(t, err)
			defer p.Close()
			all, err := p.List(bounded(t))
			must(t, err)
			mptcp := 0
			for _, s := range all {
				if !want[held{s.Network, s.Address}] {
					t.Errorf("found %+v", s)
					continue
				}
				delete(want, held{s.Network, s.Address})
				if s.MPTCP {
					mptcp++
				}
				if len(s.Holders) != 1 || !s.Detailed || s.Cookie == 0 || s.Inode == 0 || s.NetNS == 0 ||
					s.Listening != !strings.HasPrefix(s.Network, "udp") && s.Network != "unixgram" {
					t.Errorf("found %+v", s)
					continue
				}
				if direct := s.Holders[0].PID == c.pid(); direct != (role == "hold") {
					t.Errorf("held by %d: %+v", c.pid(), s)
				}
				fd, err := p.Take(s)
				must(t, err)
				i, err := listener.Describe(fd)
				if err != nil || i.Cookie != s.Cookie || i.Address != s.Address {
					t.Errorf("took %+v, %v for %+v", i, err, s)
				}
				must(t, fd.Close())
			}
			for h := range want {
				t.Errorf("did not find %v", h)
			}
			if mptcp == 0 && mptcpEnabled() {
				t.Error("found no MPTCP socket")
			}
			if mptcp == len(all) {
				t.Error("found only MPTCP sockets")
			}
		})
	}
}

func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

func mptcpEnabled() bool {
	b, err := os.ReadFile("/proc/sys/net/mptcp/enabled")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// TestAll finds a socket of this process among all.
func TestAll(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer conn.Close()
	all, _, err := process.All(bounded(t))
	must(t, err)
	found := 0
	for _, s := range all {
		if s.Address == l.Addr().String() {
			found++
			if !s.Listening || len(s.Holders) != 1 || s.Holders[0].PID != os.Getpid() {
				t.Errorf("found %+v", s)
			}
		}
	}
	if found != 1 {
		t.Errorf("found it %d times in %v", found, all)
	}
}

// TestNetNS finds a socket that was made in another network namespace, while a process is in it, and when none is.
func TestNetNS(t *testing.T) {
	needRoot(t)
	c := start(t, nil, unshared("hold", "tcp/127.0.0.1:1234"))
	c.line("holds ")
	p, err := process.Open(c.pid())
	must(t, err)
	defer p.Close()
	all, err := p.List(bounded(t))
	must(t, err)
	var own unix.Stat_t
	must(t, unix.Stat("/proc/self/ns/net", &own))
	if len(all) != 1 || all[0].Address != "127.0.0.1:1234" || all[0].NetNS == 0 || all[0].NetNS == own.Ino {
		t.Fatalf("found %+v", all)
	}
	fd, err := p.Take(all[0])
	must(t, err)
	defer fd.Close()
	self, err := process.Open(os.Getpid())
	must(t, err)
	defer self.Close()
	mine, err := self.List(bounded(t))
	must(t, err)
	i := slices.IndexFunc(mine, func(s process.Socket) bool { return s.Cookie == all[0].Cookie })
	if i < 0 || mine[i].NetNS != all[0].NetNS || mine[i].Address != all[0].Address || len(mine[i].Holders) != 2 {
		t.Errorf("this process has %+v", mine)
	}
	// Once nobody is there, only the socket itself knows.
	must(t, c.in.Close())
	must(t, c.wait())
	mine, err = self.List(bounded(t))
	must(t, err)
	i = slices.IndexFunc(mine, func(s process.Socket) bool { return s.Cookie == all[0].Cookie })
	if i < 0 || mine[i].NetNS != 0 || mine[i].Address != all[0].Address || len(mine[i].Holders) != 1 {
		t.Errorf("this process has %+v", mine)
	}
}

// unshared is a role in a network namespace of its own.
func unshared(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("unshare", append([]string{"--net", "--", "/bin/sh", "-c", `ip link set lo up 2>/dev/null; exec "$0" "$@"`, selfPath()}, args...)...)
	cmd.Env = append(os.Environ(), envRole+"="+role)
	return cmd
}

func selfPath() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// TestChanged closes a socket between the look and the taking, and lets another have its number.
func TestChanged(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p, err := process.Open(os.Getpid())
	must(t, err)
	defer p.Close()
	find := func(addr string) process.Socket {
		t.Helper()
		all, err := p.List(bounded(t))
		must(t, err)
		found, err := process.Match(bounded(t), all, "tcp", addr)
		must(t, err)
		if len(found) != 1 {
			t.Fatalf("found %v", found)
		}
		return found[0]
	}
	s := find(l.Addr().String())
	must(t, l.Close())
	if fd, err := p.Take(s); err == nil {
		fd.Close()
		t.Error("took a closed socket")
	}
	// The number is that of another listener now.
	other, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer other.Close()
	now := find(other.Addr().String())
	now.Inode = s.Inode
	if _, err := p.Take(now); !errors.Is(err, process.ErrChanged) {
		t.Errorf("took another: %v", err)
	}
	right := find(other.Addr().String())
	wrong := right
	wrong.Address = "127.0.0.1:1"
	if _, err := p.Take(wrong); !errors.Is(err, process.ErrChanged) {
		t.Errorf("took one with another address: %v", err)
	}
	wrong = right
	wrong.Cookie++
	if _, err := p.Take(wrong); !errors.Is(err, process.ErrChanged) {
		t.Errorf("took one with another cookie: %v", err)
	}
	wrong = right
	wrong.Holders = []process.Holder{{PID: 1, FDs: []int{3}}}
	if _, err := p.Take(wrong); !errors.Is(err, process.ErrChanged) {
		t.Errorf("took from a process that was not looked at: %v", err)
	}
	// A descriptor that is no socket.
	wrong = right
	pipe, w, err := os.Pipe()
	must(t, err)
	defer pipe.Close()
	defer w.Close()
	info, err := listener.Describe(pipe)
	must(t, err)
	raw, err := pipe.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(n uintptr) { wrong.Holders = []process.Holder{{PID: os.Getpid(), FDs: []int{int(n)}}} }))
	wrong.Inode = info.Ino
	if _, err := p.Take(wrong); !errors.Is(err, process.ErrChanged) {
		t.Errorf("took a pipe: %v", err)
	}
}

// TestConcurrent looks and takes in many goroutines.
func TestConcurrent(t *testing.T) {
	c := play(t, nil, "master", "reuseport:4:tcp/127.0.0.1:0")
	for range 4 {
		c.line("holds ")
	}
	p, err := process.Open(c.pid())
	must(t, err)
	defer p.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				all, err := p.List(bounded(t))
				if err != nil || len(all) != 4 {
					t.Errorf("found %v, %v", all, err)
					return
				}
				for _, s := range all {
					fd, err := p.Take(s)
					if err != nil {
						t.Error(err)
						return
					}
					_ = fd.Close()
				}
			}
		})
	}
	wg.Wait()
}
