package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Describe asks the kernel what the descriptor of c is. It borrows c, and changes nothing.
func Describe(c syscall.Conn) (Info, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Info{}, fmt.Errorf("listener: describe: %w", err)
	}
	var info Info
	var askErr error
	if err := raw.Control(func(fd uintptr) { askErr = info.ask(int(fd)) }); err != nil {
		return Info{}, fmt.Errorf("listener: describe: %w", err)
	}
	if askErr != nil {
		return Info{}, fmt.Errorf("listener: describe: %w", askErr)
	}
	return info, nil
}

// ask fills in everything, starting with what holds for any file.
func (i *Info) ask(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	i.Dev, i.Ino, i.Mode = st.Dev, st.Ino, st.Mode
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("fcntl F_GETFL", err)
	}
	i.Flags = flags
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || flags&unix.O_PATH != 0 {
		return nil // O_PATH on the path of a Unix socket has the mode of a socket, but is none
	}
	return i.askSocket(fd)
}

func (i *Info) askSocket(fd int) error {
	i.Socket = true
	var accepting, reusePort int
	for _, o := range []struct {
		name  string
		opt   int
		value *int
	}{
		{"SO_DOMAIN", unix.SO_DOMAIN, &i.Domain},
		{"SO_TYPE", unix.SO_TYPE, &i.Type},
		{"SO_PROTOCOL", unix.SO_PROTOCOL, &i.Protocol},
		{"SO_ACCEPTCONN", unix.SO_ACCEPTCONN, &accepting},
		{"SO_REUSEPORT", unix.SO_REUSEPORT, &reusePort},
	} {
		v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.opt)
		switch {
		case err == nil:
			*o.value = v
		case o.opt == unix.SO_REUSEPORT && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOPROTOOPT)):
			// Some families do not know it. The others are answered for all of them, by net/core/sock.c.
		default:
			return os.NewSyscallError("getsockopt "+o.name, err)
		}
	}
	i.Listening, i.ReusePort = accepting != 0, reusePort != 0
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_COOKIE", err)
	}
	i.Cookie = cookie
	i.Network = network(i.Domain, i.Type, i.Protocol)
	if i.Network == "" {
		return nil // not one for package net; its address could not be printed in net's way either
	}
	if i.Domain == unix.AF_INET6 {
		v, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		if err != nil {
			return os.NewSyscallError("getsockopt IPV6_V6ONLY", err)
		}
		i.V6Only = v != 0
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	i.Address = address(i.Network, sa)
	return nil
}

// network is the name that net.Listen and net.ListenPacket have for such a socket.
func network(domain, typ, proto int) string {
	switch domain {
	case unix.AF_INET, unix.AF_INET6:
		switch {
		case typ == unix.SOCK_STREAM && (proto == unix.IPPROTO_TCP || proto == unix.IPPROTO_MPTCP):
			return "tcp"
		case typ == unix.SOCK_DGRAM && proto == unix.IPPROTO_UDP:
			return "udp"
		}
	case unix.AF_UNIX:
		switch typ {
		case unix.SOCK_STREAM:
			return "unix"
		case unix.SOCK_DGRAM:
			return "unixgram"
		case unix.SOCK_SEQPACKET:
			return "unixpacket"
		}
	}
	return ""
}

// address prints sa as the net.Addr of such a socket would.
func address(network string, sa unix.Sockaddr) string {
	var ip net.IP
	var port int
	var zone string
	switch sa := sa.(type) {
	case *unix.SockaddrUnix:
		if sa.Name == "@" {
			return "" // x/sys does not look at the length, and takes a socket without a name for an abstract one
		}
		return sa.Name
	case *unix.SockaddrInet4:
		ip, port = sa.Addr[:], sa.Port
	case *unix.SockaddrInet6:
		ip, port, zone = sa.Addr[:], sa.Port, zoneName(sa.ZoneId)
	default:
		return ""
	}
	if network == "udp" {
		return (&net.UDPAddr{IP: ip, Port: port, Zone: zone}).String()
	}
	return (&net.TCPAddr{IP: ip, Port: port, Zone: zone}).String()
}

// zoneName names the interface of a link-local address, like package net.
func zoneName(index uint32) string {
	if index == 0 {
		return ""
	}
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		return ifi.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}
