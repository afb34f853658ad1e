package listener

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// socket makes an FD of a bare socket that the test closes.
func socket(t *testing.T, domain, typ, proto int) *FD {
	t.Helper()
	n, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
	must(t, err)
	fd := NewFD(n)
	t.Cleanup(func() { _ = fd.Close() })
	return fd
}

func TestDescribe(t *testing.T) {
	dir := socketDir(t)
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var mp net.ListenConfig
	mp.SetMultipathTCP(true)
	mptcp := unix.IPPROTO_MPTCP
	if b, err := os.ReadFile("/proc/sys/net/mptcp/enabled"); err != nil || strings.TrimSpace(string(b)) != "1" {
		t.Log("no MPTCP here")
		mptcp = unix.IPPROTO_TCP
	}
	reuse := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		if cErr != nil {
			return cErr
		}
		return err
	}}
	reuse.SetMultipathTCP(false)

	const (
		in4, in6, un  = unix.AF_INET, unix.AF_INET6, unix.AF_UNIX
		stream, dgram = unix.SOCK_STREAM, unix.SOCK_DGRAM
		tcp, udp      = unix.IPPROTO_TCP, unix.IPPROTO_UDP
	)
	for name, tt := range map[string]struct {
		config           net.ListenConfig
		network, address string
		want             Info // Address is filled in from the listener
	}{
		"tcp4":       {lc, "tcp4", "127.0.0.1:0", Info{Network: "tcp", Domain: in4, Type: stream, Protocol: tcp}},
		"tcp6":       {lc, "tcp6", "[::1]:0", Info{Network: "tcp", Domain: in6, Type: stream, Protocol: tcp, V6Only: true}},
		"dual":       {lc, "tcp", ":0", Info{Network: "tcp", Domain: in6, Type: stream, Protocol: tcp}},
		"any4":       {lc, "tcp4", ":0", Info{Network: "tcp", Domain: in4, Type: stream, Protocol: tcp}},
		"mptcp":      {mp, "tcp", "127.0.0.1:0", Info{Network: "tcp", Domain: in4, Type: stream, Protocol: mptcp}},
		"reuseport":  {reuse, "tcp", "127.0.0.1:0", Info{Network: "tcp", Domain: in4, Type: stream, Protocol: tcp, ReusePort: true}},
		"unix":       {lc, "unix", dir + "/u", Info{Network: "unix", Domain: un, Type: stream}},
		"relative":   {lc, "unix", "", Info{Network: "unix", Domain: un, Type: stream}},
		"abstract":   {lc, "unix", "@" + dir, Info{Network: "unix", Domain: un, Type: stream}},
		"unixpacket": {lc, "unixpacket", dir + "/p", Info{Network: "unixpacket", Domain: un, Type: unix.SOCK_SEQPACKET}},
		"udp4":       {lc, "udp4", "127.0.0.1:0", Info{Network: "udp", Domain: in4, Type: dgram, Protocol: udp}},
		"udp6":       {lc, "udp6", "[::1]:0", Info{Network: "udp", Domain: in6, Type: dgram, Protocol: udp, V6Only: true}},
		"udp dual":   {lc, "udp", ":0", Info{Network: "udp", Domain: in6, Type: dgram, Protocol: udp}},
		"unixgram":   {lc, "unixgram", dir + "/g", Info{Network: "unixgram", Domain: un, Type: dgram}},
	} {
		t.Run(name, func(t *testing.T) {
			var c syscall.Conn
			var addr net.Addr
			if tt.want.Type == dgram {
				p, err := tt.config.ListenPacket(context.Background(), tt.network, tt.address)
				must(t, err)
				defer p.Close()
				c, addr = p.(syscall.Conn), p.LocalAddr()
			} else {
				l, err := tt.config.Listen(context.Background(), tt.network, tt.address)
				must(t, err)
				defer l.Close()
				c, addr = l.(syscall.Conn), l.Addr()
				tt.want.Listening = true
			}
			got, err := Describe(c)
			must(t, err)
			if got.Cookie == 0 || got.Ino == 0 || got.Mode&unix.S_IFMT != unix.S_IFSOCK || got.Flags&unix.O_NONBLOCK == 0 {
				t.Errorf("not a non-blocking socket with cookie and inode: %+v", got)
			}
			tt.want.Socket, tt.want.Address = true, addr.String()
			tt.want.Cookie, tt.want.Dev, tt.want.Ino, tt.want.Mode, tt.want.Flags = got.Cookie, got.Dev, got.Ino, got.Mode, got.Flags
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestDescribeOthers(t *testing.T) {
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	must(t, err)
	defer file.Close()
	info, err := Describe(file)
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(file.Name(), &st))
	if info.Socket || info.Network != "" || info.Dev != st.Dev || info.Ino != st.Ino || info.Mode != st.Mode ||
		info.Flags&unix.O_ACCMODE != unix.O_RDWR || info.Flags&unix.O_APPEND == 0 {
		t.Errorf("a file is %+v", info)
	}

	netlink, err := Describe(socket(t, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE))
	must(t, err)
	if !netlink.Socket || netlink.Network != "" || netlink.Address != "" || netlink.Cookie == 0 || netlink.Domain != unix.AF_NETLINK {
		t.Errorf("a netlink socket is %+v", netlink)
	}

	unnamed, err := Describe(socket(t, unix.AF_UNIX, unix.SOCK_STREAM, 0))
	must(t, err)
	if unnamed.Network != "unix" || unnamed.Address != "" || unnamed.Listening {
		t.Errorf("an unnamed unix socket is %+v", unnamed)
	}

	path := filepath.Join(socketDir(t), "s")
	l, err := net.Listen("unix", path)
	must(t, err)
	defer l.Close()
	n, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	byPath := NewFD(n)
	defer byPath.Close()
	if info, err = Describe(byPath); err != nil || info.Socket {
		t.Errorf("the path of a socket is %+v, %v", info, err)
	}
}

func TestSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	open := func(flags int) *FD {
		n, err := unix.Open(path, flags|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		must(t, err)
		fd := NewFD(n)
		t.Cleanup(func() { _ = fd.Close() })
		return fd
	}
	dup := func(c syscall.Conn) *FD {
		fd, err := Dup(c)
		must(t, err)
		t.Cleanup(func() { _ = fd.Close() })
		return fd
	}
	ro, rw := open(unix.O_RDONLY), open(unix.O_RDWR)
	roAppend := open(unix.O_RDONLY | unix.O_APPEND)
	null := NewFD(devNull(t))
	defer null.Close()
	a, b := socket(t, unix.AF_INET, unix.SOCK_STREAM, 0), socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	for name, tt := range map[string]struct {
		a, b *FD
		want bool
	}{
		"a socket and its copy": {a, dup(a), true},
		"two sockets":           {a, b, false},
		"a file and its copy":   {ro, dup(ro), true},
		"reading and writing":   {ro, rw, false},
		"status flags differ":   {ro, roAppend, true},
		"two files":             {ro, null, false},
		"socket and file":       {a, ro, false},
	} {
		x, err := Describe(tt.a)
		must(t, err)
		y, err := Describe(tt.b)
		must(t, err)
		if x.Same(y) != tt.want || y.Same(x) != tt.want {
			t.Errorf("%s: same is not %v:\n%+v\n%+v", name, tt.want, x, y)
		}
	}
	if (Info{}).Same(Info{}) || (Info{Socket: true}).Same(Info{Socket: true}) {
		t.Error("nothing is the same as nothing")
	}
}
