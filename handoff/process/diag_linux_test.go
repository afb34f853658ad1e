package process

import (
	"encoding/binary"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// TestDiag finds this process's own sockets, each as listener.Describe says.
func TestDiag(t *testing.T) {
	dir := t.TempDir()
	want := map[uint64]string{}
	for _, a := range []string{"unix/" + dir + "/s", "unixpacket/@segue\ntest " + dir, "unixgram/" + dir + "/d", "unixgram/@segue test " + dir} {
		network, address, _ := strings.Cut(a, "/")
		a = network + " " + address
		var c any
		var err error
		if network == "unixgram" {
			c, err = net.ListenPacket(network, address)
		} else {
			c, err = net.Listen(network, address)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.(interface{ Close() error }).Close()
		i, err := listener.Describe(c.(syscall.Conn))
		if err != nil {
			t.Fatal(err)
		}
		want[i.Ino] = a
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	found := 0
	add := func(e entry) {
		s, ok := e.socket()
		if got := s.Network + " " + s.Address; !ok || got != want[e.inode] || !e.sure {
			t.Errorf("found %+v, want %s", e, want[e.inode])
		}
		found++
	}
	if !diagUnix(st.Ino, func(ino uint64) bool { return want[ino] != "" }, add) {
		t.Fatal("sock_diag does not work here")
	}
	if found != len(want) {
		t.Errorf("found %d of %d", found, len(want))
	}
	if diagUnix(st.Ino+1, func(uint64) bool { return true }, add) {
		t.Error("asked for another network namespace")
	}
}

// TestEntriesAdd lets nothing that may be forged replace what is sure, and believes none of two that differ.
func TestEntriesAdd(t *testing.T) {
	sure := entry{network: "tcp", state: tcpListen, inode: 1, sure: true}
	a, b := entry{network: "unix", state: unixConnected, inode: 1}, entry{network: "unixgram", inode: 1}
	for _, tt := range []struct {
		add  []entry
		want entry
	}{
		{[]entry{sure, a}, sure},
		{[]entry{a, sure}, sure},
		{[]entry{a, b, sure, a}, sure},
		{[]entry{a, a}, a},
		{[]entry{a, b}, entry{}},
		{[]entry{a, b, a}, entry{}},
	} {
		es := newEntries(1)
		for _, e := range tt.add {
			es.add(e)
		}
		if got := es.found[1]; got != tt.want {
			t.Errorf("%+v makes %+v", tt.add, got)
		}
	}
}

func FuzzDiag(f *testing.F) {
	var one []byte
	if err := askUnix(0, diagShowName, func(unixDiag) {}); err != nil {
		f.Fatal(err)
	}
	for _, d := range []unixDiag{{typ: 1, state: tcpListen, inode: 7, name: "/run/s"}, {typ: 5, state: 1, inode: 8, name: "@a\nb"}, {typ: 2, state: 7, inode: 9}, {typ: 2, state: 1, inode: 10, peer: true}} {
		one = append(one, d.message()...)
		f.Add(d.message())
	}
	f.Add(one)
	f.Fuzz(func(t *testing.T, b []byte) {
		var found []unixDiag
		done, err := parseDiag(b, func(d unixDiag) { found = append(found, d) })
		if done || err != nil {
			return
		}
		var again []byte
		for _, d := range found {
			again = append(again, d.message()...)
		}
		i := 0
		if _, err := parseDiag(again, func(d unixDiag) {
			if d != found[i] {
				t.Errorf("%+v became %+v", found[i], d)
			}
			i++
		}); err != nil || i != len(found) {
			t.Errorf("%+v: %d of %d, %v", found, i, len(found), err)
		}
	})
}

// message prints d as the kernel does.
func (d unixDiag) message() []byte {
	e := binary.NativeEndian
	attribute := func(b []byte, kind uint16, value []byte) []byte {
		b = e.AppendUint16(b, uint16(4+len(value)))
		b = append(e.AppendUint16(b, kind), value...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	b := []byte{unix.AF_UNIX, d.typ, d.state, 0}
	b = append(e.AppendUint32(b, d.inode), make([]byte, 8)...)
	switch {
	case strings.HasPrefix(d.name, "@"):
		b = attribute(b, diagName, append([]byte{0}, d.name[1:]...))
	case d.name != "":
		b = attribute(b, diagName, append([]byte(d.name), 0))
	}
	if d.peer {
		b = attribute(b, diagPeer, e.AppendUint32(nil, 1))
	}
	if d.bound {
		b = attribute(b, diagVFS, e.AppendUint32(e.AppendUint32(nil, d.ino), d.dev))
	}
	h := e.AppendUint32(nil, uint32(diagHeader+len(b)))
	h = e.AppendUint16(h, diagByFamily)
	return append(append(h, make([]byte, diagHeader-len(h))...), b...)
}
