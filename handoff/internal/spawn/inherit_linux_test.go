package spawn

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInheritedKinds: what SEGUE_HANDOFF names is used only if it is one end of a pair of the right kind.
func TestInheritedKinds(t *testing.T) {
	pair := func(typ int) (ours, theirs int) {
		p, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return p[0], p[1]
	}
	socket := func(typ int) int {
		n, err := unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	good, goodOther := pair(unix.SOCK_SEQPACKET)
	left, leftOther := pair(unix.SOCK_SEQPACKET)
	_ = unix.Close(leftOther) // its parent has died: Join is to say so
	stream, streamOther := pair(unix.SOCK_STREAM)
	listening := socket(unix.SOCK_SEQPACKET)
	if err := unix.Bind(listening, &unix.SockaddrUnix{Name: "@segue-test-" + filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid())}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listening, 1); err != nil {
		t.Fatal(err)
	}
	alone := socket(unix.SOCK_SEQPACKET)
	defer func() {
		for _, n := range []int{goodOther, stream, streamOther, listening, alone} {
			_ = unix.Close(n)
		}
	}()
	for _, tt := range []struct {
		name string
		n    int
		ok   bool
	}{
		{"pair", good, true}, {"end of a pair", left, true}, {"stream", stream, false},
		{"listener", listening, false}, {"not connected", alone, false},
	} {
		var st unix.Stat_t
		if err := unix.Fstat(tt.n, &st); err != nil {
			t.Fatal(err)
		}
		t.Setenv(envConn, fmt.Sprintf("%d:%d:", tt.n, st.Ino))
		conn, left, err := Inherited("", slog.New(slog.DiscardHandler))
		if err != nil || left != tt.ok {
			t.Errorf("%s: %v, %v", tt.name, conn, err)
		}
		if left {
			_ = conn.Close()
		}
	}
}
