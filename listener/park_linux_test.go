package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inPoller reports whether any epoll descriptor of this process watches the socket, which /proc/self/fdinfo tells by
// inode.
func inPoller(t *testing.T, ino uint64) bool {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	polls, found := 0, false
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err != nil || link != "anon_inode:[eventpoll]" {
			continue
		}
		polls++
		b, err := os.ReadFile("/proc/self/fdinfo/" + filepath.Base(fd))
		must(t, err)
		found = found || strings.Contains(string(b)+" ", fmt.Sprintf(" ino:%x ", ino))
	}
	if polls == 0 {
		t.Fatal("no epoll descriptor found")
	}
	return found
}

func TestPark(t *testing.T) {
	for name, at := range where(t) {
		t.Run(name, func(t *testing.T) {
			l := listen(t, at[0], at[1], Options{})
			addr := l.Addr()
			before, err := Describe(l)
			must(t, err)
			check := func(state string, wantPolled bool) {
				t.Helper()
				now, err := Describe(l)
				must(t, err)
				if now != before { // O_NONBLOCK above all
					t.Errorf("%s: it has become %+v, was %+v", state, now, before)
				}
				if l.Addr().String() != addr.String() || l.Addr().Network() != addr.Network() {
					t.Errorf("%s: the address has become %v", state, l.Addr())
				}
				if got := inPoller(t, before.Ino); got != wantPolled {
					t.Errorf("%s: in the poller: %v, want %v", state, got, wantPolled)
				}
			}
			check("paused at first", true)
			must(t, l.Open())
			call := accept(t, l)
			eventually(t, "a call is in accept", func() bool { return l.gate.state.Load()&inFlight == 1 })
			must(t, l.Park())
			check("parked", false)
			must(t, l.Park())
			must(t, l.Pause())
			check("still parked", false)
			l.gate.queued(t, "Accept")
			dial(t, addr)
			must(t, l.Arm())
			must(t, l.Arm())
			check("armed", true)
			must(t, l.Open())
			must(t, l.Open())
			must(t, within(t, "Accept", call).err)
			check("open", true)
			must(t, l.Park())
			must(t, l.Open())
			dial(t, addr)
			must(t, within(t, "Accept after Park and Open", accept(t, l)).err)
		})
	}
}

func TestParkedDeadlineAndClose(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", Options{})
	must(t, l.Park())
	call := accept(t, nopClose{l})
	l.gate.queued(t, "Accept")
	must(t, l.SetDeadline(time.Now().Add(time.Millisecond)))
	checkOpError(t, within(t, "Accept", call).err, "accept", l.Addr(), os.ErrDeadlineExceeded)
	must(t, l.Open())
	_, err := l.Accept()
	checkOpError(t, err, "accept", l.Addr(), os.ErrDeadlineExceeded) // it survived
	must(t, l.SetDeadline(time.Time{}))
	must(t, l.Park())
	raw, err := l.SyscallConn()
	must(t, err)
	call = accept(t, nopClose{l})
	l.gate.queued(t, "Accept")
	must(t, l.Close())
	checkOpError(t, within(t, "Accept", call).err, "accept", l.Addr(), net.ErrClosed)
	checkOpError(t, raw.Control(func(uintptr) { t.Error("called") }), "raw-control", l.Addr(), net.ErrClosed)
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("the socket is still open")
	}
}

// A parked listener can be emptied: Queued arms it.
func TestQueuedParked(t *testing.T) {
	l := listen(t, "unix", filepath.Join(socketDir(t), "s"), Options{})
	must(t, l.Park())
	dial(t, l.Addr())
	c, err := l.Queued()
	must(t, err)
	must(t, c.Close())
	if _, err := l.Queued(); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
}

func TestFromFD(t *testing.T) {
	for name, at := range where(t) {
		t.Run(name, func(t *testing.T) {
			inner, err := net.Listen(at[0], at[1])
			must(t, err)
			defer inner.Close()
			fd, err := Dup(inner.(netListener))
			must(t, err)
			before, err := Describe(fd)
			must(t, err)
			l, err := FromFD(fd, Options{})
			must(t, err)
			defer l.Close()
			if l.bare == nil {
				t.Error("it is not parked")
			}
			if got, want := l.Addr().String(), inner.Addr().String(); got != want {
				t.Errorf("its address is %s, want %s", got, want)
			}
			must(t, inner.(interface{ SetDeadline(time.Time) error }).SetDeadline(aLongTimeAgo))
			dial(t, l.Addr())
			must(t, l.Open())
			must(t, within(t, "Accept", accept(t, l)).err)
			if after, err := Describe(l); err != nil || after != before {
				t.Errorf("it has become %+v, was %+v; %v", after, before, err)
			}
		})
	}
}

// A program in C may hand over a blocking socket. It must become non-blocking, or Pause would wait for ever; but not before
// it is used: that program may go on.
func TestFromFDBlocking(t *testing.T) {
	fd := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, fd.Control(func(n uintptr) { must(t, unix.Listen(int(n), 1)) }))
	l, err := FromFD(fd, Options{})
	must(t, err)
	defer l.Close()
	if info, err := Describe(l); err != nil || info.Flags&unix.O_NONBLOCK != 0 {
		t.Errorf("changed before it is armed: %+v, %v", info, err)
	}
	must(t, l.Open())
	if info, err := Describe(l); err != nil || info.Flags&unix.O_NONBLOCK == 0 {
		t.Errorf("still blocking: %+v, %v", info, err)
	}
	accept(t, l)
	eventually(t, "a call is in accept", func() bool { return l.gate.state.Load()&inFlight == 1 })
	must(t, l.Pause())
}

func TestFromFDRefuses(t *testing.T) {
	dup := func(c any) *FD {
		t.Helper()
		fd, err := Dup(c.(syscall.Conn))
		must(t, err)
		t.Cleanup(func() { _ = fd.Close() })
		return fd
	}
	bound := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	must(t, bound.Control(func(n uintptr) {
		must(t, unix.Bind(int(n), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	}))
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer udp.Close()
	file, err := os.Open(os.DevNull)
	must(t, err)
	defer file.Close()
	for name, tt := range map[string]struct {
		fd                   *FD
		asListener, asPacket error
	}{
		"bound, not listening": {bound, ErrNotListening, ErrSocketType},
		"neither":              {socket(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, 0), ErrNotListening, ErrSocketType},
		"connected":            {dup(dial(t, tcp.Addr())), ErrNotListening, ErrSocketType},
		"listening":            {dup(tcp), nil, ErrSocketType},
		"udp":                  {dup(udp), ErrSocketType, nil},
		"netlink":              {socket(t, unix.AF_NETLINK, unix.SOCK_RAW, 0), ErrSocketType, ErrSocketType},
		"file":                 {dup(file), ErrNotSocket, ErrNotSocket},
		"closed":               {new(FD), net.ErrClosed, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.asListener != nil {
				_, err := FromFD(tt.fd, Options{})
				if !errors.Is(err, tt.asListener) {
					t.Errorf("as a listener: %v, want %v", err, tt.asListener)
				}
				t.Log(err)
			}
			if tt.asPacket != nil {
				_, err := PacketFromFD(tt.fd, Options{})
				if !errors.Is(err, tt.asPacket) {
					t.Errorf("as a packet socket: %v, want %v", err, tt.asPacket)
				}
				t.Log(err)
			}
			if tt.asListener != net.ErrClosed {
				if _, err := Describe(tt.fd); err != nil {
					t.Errorf("the descriptor is gone in spite of the error: %v", err)
				}
			}
		})
	}
}

// keepAliveOf reads back what an accepted connection was given.
func keepAliveOf(t *testing.T, c net.Conn) (on, idle, interval, count int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		get := func(level, opt int) int {
			v, err := unix.GetsockoptInt(int(fd), level, opt)
			must(t, err)
			return v
		}
		on = get(unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		idle = get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		interval = get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)
		count = get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	}))
	return on, idle, interval, count
}

// A rebuilt listener gives its connections what the original, made by net.ListenConfig, gave to its own.
func TestKeepAlive(t *testing.T) {
	for name, o := range map[string]Options{
		"default":        {},
		"duration":       {KeepAlive: 77 * time.Second},
		"below a second": {KeepAlive: 300 * time.Millisecond},
		"off":            {KeepAlive: -1},
		"config":         {KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 33 * time.Second, Interval: 7 * time.Second, Count: 4}},
		"config in part": {KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 33 * time.Second}},
		"config wins":    {KeepAlive: -1, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 33 * time.Second}},
		"config is off":  {KeepAlive: 44 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Idle: 33 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			lc := net.ListenConfig{KeepAlive: o.KeepAlive, KeepAliveConfig: o.KeepAliveConfig}
			inner, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
			must(t, err)
			l, err := New(inner, o)
			must(t, err)
			defer l.Close()
			ask := func() [4]int {
				var got [4]int
				call := accept(t, nopClose{l})
				dial(t, l.Addr())
				c := within(t, "Accept", call)
				must(t, c.err)
				got[0], got[1], got[2], got[3] = keepAliveOf(t, c.conn)
				return got
			}
			must(t, l.Open())
			want := ask()
			must(t, l.Park())
			dial(t, l.Addr())
			var c net.Conn
			eventually(t, "the client is in the queue", func() bool { c, err = l.Queued(); return err == nil })
			defer c.Close()
			var queued [4]int
			queued[0], queued[1], queued[2], queued[3] = keepAliveOf(t, c)
			must(t, l.Open())
			for how, got := range map[string][4]int{"Accept": ask(), "Queued": queued} {
				if got[0] != want[0] || want[0] == 1 && got != want { // the times mean nothing while it is off
					t.Errorf("%s: on, idle, interval and count are %v after the rebuild, were %v", how, got, want)
				}
			}
		})
	}
}

// What this package avoids: the files that package net makes clear O_NONBLOCK for all, and ours do not.
func TestNonblock(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	p, err := NewPacket(c, Options{})
	must(t, err)
	defer p.Close()
	witness, err := Dup(p)
	must(t, err)
	defer witness.Close()
	nonblock := func() bool {
		info, err := Describe(witness)
		must(t, err)
		return info.Flags&unix.O_NONBLOCK != 0
	}
	file, err := p.(*UDPConn).File()
	must(t, err)
	file.Fd()
	if !nonblock() {
		t.Error("Fd of our File has cleared O_NONBLOCK")
	}
	again, err := net.FilePacketConn(file)
	must(t, err)
	must(t, again.Close())
	must(t, file.Close())
	if !nonblock() {
		t.Error("net.FilePacketConn has cleared O_NONBLOCK")
	}
	theirs, err := p.(*UDPConn).UDPConn.File()
	must(t, err)
	defer theirs.Close()
	theirs.Fd()
	if nonblock() {
		t.Error("package net's File leaves O_NONBLOCK now: say so in the documentation, and drop ours")
	}
}
