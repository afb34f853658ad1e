package process

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// Match returns those of all that a program asks for which calls net.Listen or net.ListenPacket with network and address:
// several, if they are a group (SO_REUSEPORT), or if the host is empty.
//
// Without a host, as in ":80", it is any socket at that port that takes connections to all addresses of its family,
// 0.0.0.0 as well as [::]. "0.0.0.0" and "[::]" mean just those, and another host, which may be a name, that address. An
// abstract name of a Unix socket must be as the process gave it, and so must a path, save for what filepath.Clean does; a
// relative one is relative to the directory that the process is in now, or this one.
func Match(ctx context.Context, all []Socket, network, address string) ([]Socket, error) {
	w, err := parseWant(ctx, network, address)
	if err != nil {
		return nil, err
	}
	var found []Socket
	for _, s := range all {
		if w.matches(s) {
			found = append(found, s)
		}
	}
	return found, nil
}

// want is what somebody asks for.
type want struct {
	network string     // without 4 or 6
	path    string     // of a Unix socket, from the root
	ip      netip.Addr // not valid: any unspecified
	is4     bool       // only IPv4
	is6     bool       // only IPv6
	port    uint16
}

func parseWant(ctx context.Context, network, address string) (want, error) {
	w := want{network: network}
	switch network {
	case "unix", "unixgram", "unixpacket":
		if w.path = address; address != "" && !strings.HasPrefix(address, "@") {
			var err error
			if w.path, err = filepath.Abs(address); err != nil {
				return w, fmt.Errorf("process: where %s is: %w", address, err)
			}
		}
		return w, nil
	case "tcp", "udp":
	case "tcp4", "udp4":
		w.network, w.is4 = network[:3], true
	case "tcp6", "udp6":
		w.network, w.is6 = network[:3], true
	default:
		return w, fmt.Errorf("process: %w", net.UnknownNetworkError(network))
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return w, fmt.Errorf("process: %w", err)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, network, port)
	if err != nil {
		return w, fmt.Errorf("process: %w", err)
	}
	w.port = uint16(n)
	if host == "" || host == "*" {
		return w, nil
	}
	if w.ip, err = netip.ParseAddr(host); err != nil {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip"+network[3:], host)
		if err != nil {
			return w, fmt.Errorf("process: %w", err)
		}
		w.ip = ips[0].Unmap()
		for _, ip := range ips { // as package net prefers it
			if ip = ip.Unmap(); ip.Is4() {
				w.ip = ip
				break
			}
		}
	}
	w.ip = w.ip.Unmap()
	return w, nil
}

func (w want) matches(s Socket) bool {
	if s.Network != w.network {
		return false
	}
	if strings.HasPrefix(s.Network, "unix") {
		if strings.HasPrefix(w.path, "@") {
			return s.Address == w.path
		}
		return w.path != "" && s.file() == w.path
	}
	ap, err := netip.ParseAddrPort(s.Address)
	if err != nil || ap.Port() != w.port || w.port == 0 {
		return false
	}
	ip := ap.Addr().Unmap()
	switch {
	case w.is4 && !ip.Is4(), w.is6 && ip.Is4():
		return false
	case !w.ip.IsValid():
		return ip.IsUnspecified()
	default:
		return ip.WithZone("") == w.ip.WithZone("") && (ip.Zone() == w.ip.Zone() || ip.Zone() == "" || w.ip.Zone() == "")
	}
}

// clashes reports whether a bind of what is wanted would fail, or share with, s: then a program that binds afresh is not
// what anybody wants.
func (w want) clashes(s Socket) bool {
	if s.Network != w.network {
		return false
	}
	if strings.HasPrefix(s.Network, "unix") {
		return w.matches(s)
	}
	ap, err := netip.ParseAddrPort(s.Address)
	if err != nil || ap.Port() != w.port || w.port == 0 {
		return false
	}
	ip := ap.Addr().Unmap()
	return !w.ip.IsValid() || w.ip.IsUnspecified() || ip.IsUnspecified() || ip.WithZone("") == w.ip.WithZone("")
}

// compareAddress puts ports in the order of numbers.
func compareAddress(a, b string) int {
	x, errX := netip.ParseAddrPort(a)
	y, errY := netip.ParseAddrPort(b)
	if errX != nil || errY != nil {
		return strings.Compare(a, b)
	}
	return cmp.Or(cmp.Compare(x.Port(), y.Port()), x.Addr().Compare(y.Addr()))
}

// withoutZone removes the zone of a link-local address, as in [fe80::1%eth0]:80.
func withoutZone(address string) string {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || ap.Addr().Zone() == "" {
		return address
	}
	return netip.AddrPortFrom(ap.Addr().WithZone(""), ap.Port()).String()
}
