package process

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// The files in /proc/PID/net list the sockets of the network namespace that process PID is in: proc_pid_net(5), and
// tcp4_seq_show, udp4_seq_show and unix_seq_show in the kernel. An MPTCP socket is among those in tcp, by the inode of
// the MPTCP socket (mptcp_subflow_create_socket).

// entry is one line.
type entry struct {
	network string
	local   netip.AddrPort // of tcp and udp
	path    string         // of Unix sockets
	state   uint8
	flags   uint32 // of Unix sockets
	inode   uint64
	netNS   uint64 // of the table
	sure    bool   // nobody can have forged it, as anybody can a line in the table of Unix sockets
}

const (
	tcpEstablished  = 1 // TCP_ESTABLISHED in include/net/tcp_states.h; also of a connected UDP socket
	tcpListen       = 10
	unixUnconnected = 1       // SS_UNCONNECTED in include/uapi/linux/net.h
	unixConnected   = 3       // SS_CONNECTED
	unixAccepting   = 1 << 16 // __SO_ACCEPTCON
)

var errTable = errors.New("unknown format of a table in /proc/net")

// tables are the files to read, and in which column they have the inode.
var tables = []struct {
	name  string
	inode int
	parse func(line string) (entry, error)
}{
	{"tcp", 9, func(l string) (entry, error) { return parseInet("tcp", l) }},
	{"tcp6", 9, func(l string) (entry, error) { return parseInet("tcp", l) }},
	{"udp", 9, func(l string) (entry, error) { return parseInet("udp", l) }},
	{"udp6", 9, func(l string) (entry, error) { return parseInet("udp", l) }},
	{"unix", 6, parseUnix},
}

// readTable calls add with each line of a table whose inode, in that column, is wanted: a busy server has a hundred
// thousand others. It passes over what it does not understand: anybody may put a line break into the name of a Unix
// socket, and even a whole line. So what the table of Unix sockets says is only a hint, see entries.add; and nothing that
// the tables say is believed of a socket that is taken, see verify.
func readTable(r io.Reader, column int, wanted func(inode uint64) bool, parse func(string) (entry, error), add func(entry)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		ino, ok := number(lines.Bytes(), column)
		if !ok || !wanted(ino) {
			continue // the first line is among these
		}
		if e, err := parse(lines.Text()); err == nil {
			add(e)
		}
	}
	return lines.Err()
}

// number reads the number in a column, counted from 0, and allocates nothing.
func number(line []byte, column int) (uint64, bool) {
	for {
		line = bytes.TrimLeft(line, " ")
		end := bytes.IndexByte(line, ' ')
		if end < 0 {
			end = len(line)
		}
		if column == 0 {
			line = line[:end]
			break
		}
		column--
		line = line[end:]
	}
	var n uint64
	for _, c := range line {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, len(line) > 0
}

// parseInet reads a line like
//
//	0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 4858273 2 ...
func parseInet(network, line string) (entry, error) {
	e := entry{network: network, sure: true}
	f := strings.Fields(line)
	if len(f) < 10 {
		return e, fmt.Errorf("%w: %q", errTable, line)
	}
	var err error
	if e.local, err = parseLocal(f[1]); err != nil {
		return e, fmt.Errorf("%w: %q: %w", errTable, line, err)
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	if err != nil {
		return e, fmt.Errorf("%w: %q: %w", errTable, line, err)
	}
	e.state = uint8(state)
	if e.inode, err = strconv.ParseUint(f[9], 10, 64); err != nil {
		return e, fmt.Errorf("%w: %q: %w", errTable, line, err)
	}
	return e, nil
}

// parseLocal reads an address, whose bytes are printed as words in the machine's own order, and its port.
func parseLocal(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	b, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%w: an address of %d bytes", errTable, len(b))
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip, uint16(n)), nil
}

// parseUnix reads a line like
//
//	00000000c31c6e6d: 00000002 00000000 00010000 0001 01  1658 /run/app.sock
//
// in which the path, if there is one, is everything after the inode and one blank.
func parseUnix(line string) (entry, error) {
	var e entry
	f := make([]string, 0, 7)
	rest := line
	for len(f) < cap(f) {
		rest = strings.TrimLeft(rest, " ")
		word, after, _ := strings.Cut(rest, " ")
		if word == "" {
			return e, fmt.Errorf("%w: %q", errTable, line)
		}
		f, rest = append(f, word), after
	}
	e.path = rest
	flags, err1 := strconv.ParseUint(f[3], 16, 32)
	typ, err2 := strconv.ParseUint(f[4], 16, 16)
	state, err3 := strconv.ParseUint(f[5], 16, 8)
	inode, err4 := strconv.ParseUint(f[6], 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return e, fmt.Errorf("%w: %q: %w", errTable, line, err)
	}
	e.flags, e.state, e.inode = uint32(flags), uint8(state), inode
	if e.network = unixNetwork(int(typ)); e.network == "" {
		return e, fmt.Errorf("%w: %q", errTable, line)
	}
	return e, nil
}

// unixNetwork is the name that net.Listen has for a type of Unix sockets.
func unixNetwork(typ int) string {
	switch typ {
	case syscall.SOCK_STREAM:
		return "unix"
	case syscall.SOCK_DGRAM:
		return "unixgram"
	case syscall.SOCK_SEQPACKET:
		return "unixpacket"
	}
	return ""
}

// entries is what is known of sockets, by inode.
type entries struct {
	found       map[uint64]entry
	conflicting map[uint64]bool // there are lines that say different things, and none that is sure
}

func newEntries(n int) *entries {
	return &entries{found: make(map[uint64]entry, n), conflicting: map[uint64]bool{}}
}

// add adds an entry. What may be forged never replaces what is sure; and of two that may, none is believed.
func (es *entries) add(e entry) {
	old, have := es.found[e.inode]
	switch {
	case e.sure:
		es.found[e.inode] = e
		delete(es.conflicting, e.inode)
	case have && old.sure || es.conflicting[e.inode]:
	case have && old != e:
		delete(es.found, e.inode)
		es.conflicting[e.inode] = true
	default:
		es.found[e.inode] = e
	}
}

// ambiguous reports whether only the socket itself can tell what it is: /proc/net/unix has a unixgram socket as connected
// when a client has connected to it, as when it is connected itself (unix_dgram_connect in net/unix/af_unix.c). Who may not
// ask takes it for a bound one.
func (e entry) ambiguous() bool {
	return e.network == "unixgram" && e.path != "" && e.state == unixConnected && !e.sure
}

// socket returns what the entry is, if it is a listening or bound socket.
func (e entry) socket() (Socket, bool) {
	s := Socket{Network: e.network, Address: e.address(), Inode: e.inode, NetNS: e.netNS}
	switch e.network {
	case "tcp":
		s.Listening = e.state == tcpListen
		return s, s.Listening
	case "udp":
		return s, e.state != tcpEstablished && e.local.Port() != 0
	case "unixgram":
		return s, e.path != "" && (e.state != unixConnected || e.ambiguous())
	default:
		s.Listening = e.flags&unixAccepting != 0
		return s, s.Listening
	}
}

// connectionOf reports whether the entry is a connection that came through s, or may have.
func (e entry) connectionOf(s Socket) bool {
	if e.network != s.Network || !s.Listening {
		return false
	}
	if e.network != "tcp" {
		return e.flags&unixAccepting == 0 && e.state == unixConnected && e.path == s.Address
	}
	ap, err := netip.ParseAddrPort(s.Address)
	if err != nil {
		return false
	}
	ip := ap.Addr().Unmap()
	return e.state != tcpListen && e.local.Port() == ap.Port() && (ip.IsUnspecified() || ip.WithZone("") == e.local.Addr().Unmap().WithZone(""))
}

// address prints the address like net.Addr.
func (e entry) address() string {
	if e.path != "" || !e.local.IsValid() {
		return e.path
	}
	return (&net.TCPAddr{IP: e.local.Addr().AsSlice(), Port: int(e.local.Port())}).String()
}
