package process

import (
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
