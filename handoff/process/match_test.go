package process

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	all := []Socket{
		{Network: "tcp", Address: "0.0.0.0:80", Inode: 1},
		{Network: "tcp", Address: "[::]:80", Inode: 2},
		{Network: "tcp", Address: "127.0.0.1:8080", Inode: 3},
		{Network: "tcp", Address: "127.0.0.1:8080", Inode: 4},
		{Network: "tcp", Address: "[fe80::1%eth0]:8080", Inode: 5},
		{Network: "udp", Address: "0.0.0.0:80", Inode: 6},
		{Network: "unix", Address: "/run/a.sock", Inode: 7},
		{Network: "unix", Address: "@a", Inode: 8},
		{Network: "unixgram", Address: "/run/a.sock", Inode: 9},
		{Network: "unix", Address: "a.sock", Inode: 10, path: "/srv/a.sock"},
		{Network: "unix", Address: "b.sock", Inode: 11, path: wd + "/b.sock"},
		{Network: "unix", Address: "c.sock", Inode: 12},
	}
	for _, tt := range []struct {
		network, address string
		want             []uint64
		clash            bool
	}{
		{"tcp", ":80", []uint64{1, 2}, true},
		{"tcp", "*:80", []uint64{1, 2}, true},
		{"tcp", ":http", []uint64{1, 2}, true},
		{"tcp4", ":80", []uint64{1}, true},
		{"tcp6", ":80", []uint64{2}, true},
		{"tcp", "0.0.0.0:80", []uint64{1}, true},
		{"tcp", "[::]:80", []uint64{2}, true},
		{"tcp", "127.0.0.1:80", nil, true},
		{"tcp", "127.0.0.1:8080", []uint64{3, 4}, true},
		{"tcp", "[::ffff:127.0.0.1]:8080", []uint64{3, 4}, true},
		{"tcp", ":8080", nil, true},
		{"tcp", "127.0.0.2:8080", nil, false},
		{"tcp", "127.0.0.1:0", nil, false},
		{"tcp", "[fe80::1]:8080", []uint64{5}, true},
		{"tcp", "[fe80::1%eth1]:8080", nil, true},
		{"udp", ":80", []uint64{6}, true},
		{"unix", "/run/a.sock", []uint64{7}, true},
		{"unix", "/run//a.sock", []uint64{7}, true},
		{"unix", "@a", []uint64{8}, true},
		{"unix", "", nil, false},
		{"unixgram", "/run/a.sock", []uint64{9}, true},
		{"unixpacket", "/run/a.sock", nil, false},
		{"unix", "a.sock", nil, false},
		{"unix", "/srv/a.sock", []uint64{10}, true},
		{"unix", "./b.sock", []uint64{11}, true},
		{"unix", wd + "/b.sock", []uint64{11}, true},
		{"unix", "c.sock", nil, false},
	} {
		found, err := Match(t.Context(), all, tt.network, tt.address)
		if err != nil {
			t.Error(err)
		}
		same := len(found) == len(tt.want)
		for i := range found {
			same = same && found[i].Inode == tt.want[i]
		}
		if !same {
			t.Errorf("%s %s is %v, want %v", tt.network, tt.address, found, tt.want)
		}
		w, err := parseWant(t.Context(), tt.network, tt.address)
		if err != nil {
			t.Error(err)
		}
		clash := false
		for _, s := range all {
			clash = clash || w.clashes(s)
		}
		if clash != tt.clash {
			t.Errorf("%s %s clashes: %v", tt.network, tt.address, clash)
		}
	}
	if _, err := Match(t.Context(), all, "ip", "1.2.3.4"); !errors.As(err, new(net.UnknownNetworkError)) {
		t.Errorf("network ip: %v", err)
	}
	for _, bad := range []string{"80", ":no-such-service", "a:b:c"} {
		if _, err := Match(t.Context(), all, "tcp", bad); err == nil {
			t.Errorf("%s is an address", bad)
		}
	}
}

func TestNoSocketError(t *testing.T) {
	e := &NoSocketError{PID: 7, Network: "tcp", Address: ":1"}
	if !strings.Contains(e.Error(), "process 7 and its children have no listening or bound socket") {
		t.Error(e)
	}
	for range 22 {
		e.Have = append(e.Have, Socket{Network: "tcp", Address: "[::]:80"})
	}
	if !strings.Contains(e.Error(), "process 7 has no socket for tcp/:1") || !strings.HasSuffix(e.Error(), "tcp/[::]:80, and 2 more") {
		t.Error(e)
	}
}

// TestNoSocketErrorRelative names a path as it has to be asked for.
func TestNoSocketErrorRelative(t *testing.T) {
	s := Socket{Network: "unix", Address: "a.sock"}
	s.in("/srv")
	e := &NoSocketError{PID: 7, Network: "unix", Address: "a.sock", Have: []Socket{s}}
	if !strings.HasSuffix(e.Error(), "one that it has: unix//srv/a.sock") {
		t.Error(e)
	}
}

// TestPrintable wants no control characters of whoever chose a name in what an operator reads.
func TestPrintable(t *testing.T) {
	bad := Socket{Network: "unix", Address: "@a\n\x1b[2J", Holders: []Holder{{PID: 1, Command: "x\r\"y\""}}}
	e := &NoSocketError{PID: 7, Network: "unix", Address: "@b\n", Have: []Socket{bad}}
	for _, s := range []string{bad.String(), e.Error(), (&NoSocketError{Address: "@b\n"}).Error()} {
		if strings.ContainsAny(s, "\n\r\x1b") {
			t.Errorf("%q", s)
		}
	}
	if want := `unix @a\n\x1b[2J (x\r"y" 1)`; bad.String() != want {
		t.Errorf("got %s, want %s", bad, want)
	}
}

func TestSortSockets(t *testing.T) {
	all := []Socket{
		{Network: "unix", Address: "/b"},
		{Network: "tcp", Address: "127.0.0.1:8080", Holders: []Holder{{PID: 1, FDs: []int{7}}}},
		{Network: "tcp", Address: "127.0.0.1:8080", Holders: []Holder{{PID: 1, FDs: []int{6}}}},
		{Network: "unix", Address: "/a"},
		{Network: "tcp", Address: "127.0.0.1:80"},
	}
	sortSockets(all)
	var got []string
	for _, s := range all {
		got = append(got, s.String())
	}
	want := "tcp 127.0.0.1:80; tcp 127.0.0.1:8080 ( 1); tcp 127.0.0.1:8080 ( 1); unix /a; unix /b"
	if strings.Join(got, "; ") != want || all[1].Holders[0].FDs[0] != 6 {
		t.Errorf("got %s", strings.Join(got, "; "))
	}
}
