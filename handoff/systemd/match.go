package systemd

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/segue-go/segue/listener"
)

// wanted is what the program asks for.
type wanted struct {
	name    string
	network string // without 4 or 6
	family  string // "4", "6", or "": either
	path    string // of a Unix socket
	ip      netip.Addr
	port    uint16
}

// want takes apart what ListenAs was called with. An address that names a host is looked up.
func want(name, network, address string) (wanted, error) {
	w := wanted{name: name, network: network}
	switch network {
	case "tcp4", "tcp6", "udp4", "udp6":
		w.network, w.family = network[:3], network[3:]
	}
	var ap netip.AddrPort
	switch w.network {
	case "unix", "unixgram", "unixpacket":
		if w.path = address; address != "" && address[0] != '@' {
			var err error
			if w.path, err = filepath.Abs(address); err != nil {
				return w, err
			}
		}
		return w, nil
	case "tcp":
		a, err := net.ResolveTCPAddr(network, address)
		if err != nil {
			return w, err
		}
		ap = a.AddrPort()
	case "udp":
		a, err := net.ResolveUDPAddr(network, address)
		if err != nil {
			return w, err
		}
		ap = a.AddrPort()
	default:
		return w, net.UnknownNetworkError(network)
	}
	w.ip, w.port = ap.Addr().Unmap(), ap.Port()
	return w, nil
}

// kind reports whether a socket is of the network that is asked for.
func (w *wanted) kind(i listener.Info) bool { return i.Network == w.network }

// at reports whether a socket has the address that is asked for: no host means all addresses, whether they are written
// 0.0.0.0 or [::]. Port 0 is any, if anyPort.
func (w *wanted) at(i listener.Info, anyPort bool) bool {
	if !w.kind(i) {
		return false
	}
	if strings.HasPrefix(w.network, "unix") {
		return w.path != "" && w.path == i.Address
	}
	ap, err := netip.ParseAddrPort(i.Address)
	if err != nil || ap.Port() != w.port && (w.port != 0 || !anyPort) || w.port == 0 && !anyPort {
		return false
	}
	ip := ap.Addr().Unmap()
	switch {
	case w.family == "4" && !ip.Is4(), w.family == "6" && ip.Is4():
		return false
	case !w.ip.IsValid():
		return ip.IsUnspecified()
	default:
		return ip == w.ip
	}
}
