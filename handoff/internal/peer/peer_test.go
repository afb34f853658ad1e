package peer

import (
	"syscall"
	"testing"
)

func TestExit(t *testing.T) {
	for _, tt := range []struct {
		status uint32
		want   Exit
		wish   bool
		text   string
	}{
		{0, Exit{}, true, "exit status 0"},
		{3 << 8, Exit{Code: 3}, false, "exit status 3"},
		{255 << 8, Exit{Code: 255}, false, "exit status 255"},
		{2, Exit{Signal: syscall.SIGINT}, true, "signal: interrupt"},
		{9, Exit{Signal: syscall.SIGKILL}, false, "signal: killed"},
		{11 | 0x80, Exit{Signal: syscall.SIGSEGV}, false, "signal: segmentation fault"}, // with core
		{15, Exit{Signal: syscall.SIGTERM}, true, "signal: terminated"},
	} {
		got := exitOf(tt.status)
		if got != tt.want || got.Wish() != tt.wish || got.String() != tt.text {
			t.Errorf("%#x: got %v, wish %v; want %v, wish %v", tt.status, got, got.Wish(), tt.text, tt.wish)
		}
	}
}

func TestSameUser(t *testing.T) {
	for _, tt := range []struct {
		uid      uint32
		euid     int
		overflow uint32
		want     bool
	}{
		{1000, 1000, 65534, true},
		{1000, 1001, 65534, false},
		{0, 1000, 65534, true},
		{0, 0, 65534, true},
		{1000, 0, 65534, false},
		{65534, 65534, 65534, false},
		{65534, 65534, 99, true},
		{99, 99, 99, false},
		{0, 1000, 0, false},
		{1<<32 - 1, -1, 65534, false}, // Geteuid of Windows
	} {
		if got := sameUser(tt.uid, tt.euid, tt.overflow); got != tt.want {
			t.Errorf("uid %d at euid %d, overflow uid %d: got %v", tt.uid, tt.euid, tt.overflow, got)
		}
	}
	if SameUser(overflowUID()) {
		t.Error("the overflow uid is trusted")
	}
}
