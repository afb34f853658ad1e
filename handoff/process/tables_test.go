package process

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// sockTypes are SOCK_*, by network.
var sockTypes = map[string]int{"unix": syscall.SOCK_STREAM, "unixgram": syscall.SOCK_DGRAM, "unixpacket": syscall.SOCK_SEQPACKET}

// line prints an entry as the kernel does.
func (e entry) line() string {
	if n := sockTypes[e.network]; n != 0 {
		s := fmt.Sprintf("%016x: %08X %08X %08X %04X %02X %5d", 0xc31c6e6d, 2, 0, e.flags, n, e.state, e.inode)
		if e.path != "" {
			s += " " + e.path
		}
		return s
	}
	return fmt.Sprintf("%4d: %s:%04X 00000000:0000 %02X 00000000:00000000 00:00000000 00000000  1000        0 %d 2 0000000000000000",
		7, hexAddr(e.local.Addr()), e.local.Port(), e.state, e.inode)
}

func hexAddr(ip netip.Addr) string {
	s, b := "", ip.AsSlice()
	for i := 0; i < len(b); i += 4 {
		s += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[i:]))
	}
	return s
}

func TestTables(t *testing.T) {
	inet := func(network, local string, state uint8, inode uint64) entry {
		return entry{network: network, local: netip.MustParseAddrPort(local), state: state, inode: inode, sure: true}
	}
	for _, tt := range []struct {
		entry
		want string // network and address, if it is a socket to list
	}{
		{inet("tcp", "127.0.0.1:8080", tcpListen, 11), "tcp 127.0.0.1:8080"},
		{inet("tcp", "[::]:80", tcpListen, 12), "tcp [::]:80"},
		{inet("tcp", "[2001:db8::1]:80", tcpListen, 13), "tcp [2001:db8::1]:80"},
		{inet("tcp", "[::ffff:10.0.0.1]:80", tcpListen, 14), "tcp 10.0.0.1:80"},
		{inet("tcp", "127.0.0.1:8080", tcpEstablished, 15), ""},
		{inet("tcp", "127.0.0.1:8080", 6, 0), ""},
		{inet("udp", "0.0.0.0:53", 7, 17), "udp 0.0.0.0:53"},
		{inet("udp", "10.0.0.1:5353", tcpEstablished, 18), ""},
		{inet("udp", "0.0.0.0:0", 7, 19), ""},
		{entry{network: "unix", path: "/run/a b.sock", state: 1, flags: unixAccepting, inode: 20}, "unix /run/a b.sock"},
		{entry{network: "unix", path: "/run/a b.sock", state: unixConnected, inode: 21}, ""},
		{entry{network: "unixgram", path: "@log", state: 1, inode: 22}, "unixgram @log"},
		{entry{network: "unixgram", state: 1, inode: 23}, ""},
		{entry{network: "unixpacket", path: "/run/p", state: 1, flags: unixAccepting, inode: 24}, "unixpacket /run/p"},
	} {
		parse := func(l string) (entry, error) { return parseInet(tt.network, l) }
		column := 9
		if tt.local == (netip.AddrPort{}) {
			parse, column = parseUnix, 6
		}
		got, err := parse(tt.line())
		if err != nil || got != tt.entry {
			t.Errorf("%s is %+v, %v; want %+v", tt.line(), got, err, tt.entry)
		}
		var added []entry
		r := strings.NewReader("  header of a table\n" + tt.line() + "\n")
		err = readTable(r, column, func(ino uint64) bool { return ino == tt.inode }, parse, func(e entry) { added = append(added, e) })
		if err != nil || len(added) != 1 || added[0] != tt.entry {
			t.Errorf("%s: read %+v, %v", tt.line(), added, err)
		}
		s, ok := got.socket()
		if what := s.Network + " " + s.Address; ok != (tt.want != "") || ok && what != tt.want {
			t.Errorf("%s is the socket %s, %v; want %s", tt.line(), what, ok, tt.want)
		}
	}
	for _, line := range []string{"", " ", "a b c", "1: x:1 0:0 0A 0 0 0 0 0 1", "1: 00:0050 0:0 0A 0 0 0 0 0 1", "1: 00000000:0050 0:0 XX 0 0 0 0 0 1",
		"1: 00000000:0050 0:0 0A 0 0 0 0 0 x", "1: 00000000:10050 0:0 0A 0 0 0 0 0 1"} {
		if e, err := parseInet("tcp", line); err == nil {
			t.Errorf("%q is %+v", line, e)
		}
		if e, err := parseUnix(line); err == nil {
			t.Errorf("%q is %+v", line, e)
		}
	}
	// Somebody's name for a socket, with line breaks in it, hides nothing and breaks nothing.
	table := "header\n0: 2 0 00010000 0001 01 5 /run/x\ny z\n\n0: 2 0 00010000 0001 01 6 /run/z\n"
	var inodes []uint64
	err := readTable(strings.NewReader(table), 6, func(uint64) bool { return true }, parseUnix, func(e entry) { inodes = append(inodes, e.inode) })
	if err != nil || !slices.Equal(inodes, []uint64{5, 6}) {
		t.Errorf("read %v, %v", inodes, err)
	}
}

func TestConnectionOf(t *testing.T) {
	wild := Socket{Network: "tcp", Address: "0.0.0.0:80", Listening: true}
	own := Socket{Network: "tcp", Address: "10.0.0.1:80", Listening: true}
	path := Socket{Network: "unix", Address: "/run/a", Listening: true}
	conn := func(local string) entry {
		return entry{network: "tcp", local: netip.MustParseAddrPort(local), state: tcpEstablished}
	}
	for _, tt := range []struct {
		e    entry
		s    Socket
		want bool
	}{
		{conn("10.0.0.1:80"), wild, true},
		{conn("[::ffff:10.0.0.1]:80"), own, true},
		{conn("10.0.0.1:80"), own, true},
		{conn("10.0.0.2:80"), own, false},
		{conn("10.0.0.1:81"), wild, false},
		{entry{network: "tcp", local: netip.MustParseAddrPort("0.0.0.0:80"), state: tcpListen}, wild, false},
		{entry{network: "unix", path: "/run/a", state: unixConnected}, path, true},
		{entry{network: "unix", path: "/run/a", state: 1, flags: unixAccepting}, path, false},
		{entry{network: "unix", path: "/run/b", state: unixConnected}, path, false},
		{entry{network: "unix", path: "/run/a", state: unixConnected}, wild, false},
	} {
		if got := tt.e.connectionOf(tt.s); got != tt.want {
			t.Errorf("%+v of %v: %v", tt.e, tt.s, got)
		}
	}
}

func FuzzInet(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4858273 2 0")
	f.Add("   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0  1000 0 4858273 2 0")
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parseInet("tcp", line)
		if err != nil {
			return
		}
		again, err := parseInet("tcp", e.line())
		if err != nil || again != e {
			t.Errorf("%q is %+v, and then %+v, %v", line, e, again, err)
		}
		if _, ok := e.socket(); ok && e.address() == "" {
			t.Errorf("%q has no address", line)
		}
	})
}

func FuzzUnix(f *testing.F) {
	f.Add("00000000c31c6e6d: 00000002 00000000 00010000 0001 01  1658 /run/app.sock")
	f.Add("00000000c31c6e6d: 00000003 00000000 00000000 0002 03  1657")
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parseUnix(line)
		if err != nil {
			return
		}
		again, err := parseUnix(e.line())
		if err != nil || again != e {
			t.Errorf("%q is %+v, and then %+v, %v", line, e, again, err)
		}
	})
}
