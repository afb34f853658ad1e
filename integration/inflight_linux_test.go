package integration

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

// TestInFlight: another process of the user has more descriptors in flight than the incumbent may have. Where the successor
// takes its descriptors itself it takes the token, too; where they are sent, the incumbent waits.
func TestInFlight(t *testing.T) {
	user := 54400
	for _, way := range ways {
		for _, transport := range []string{"auto", "scm_rights"} {
			user++ // the kernel counts by user
			user := user
			t.Run(way+"/"+transport, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, "tcp")
				w.belongTo(uint32(user))
				w.conf.Traced = true
				w.conf.Start, w.conf.Transport = "nofile=300", strings.TrimPrefix(transport, "auto")
				a := w.serving("tcp")
				vs := come(t, w.addr, 2)
				vs.answered(t, a.pid)
				land := fly(t, user, 400)
				mark := w.mark()
				b := w.succeed(way, a, "tcp")
				if transport == "auto" {
					w.wait(mark, a.pid, "log", "the token cannot be sent; the successor takes it")
				} else {
					w.wait(mark, a.pid, "received", "hello")
					land()
				}
				if e := w.wait(mark, b.pid, "ready", ""); e.Err != "" {
					t.Fatalf("Ready: %s", e.Err)
				}
				land()
				w.ended(a)
				vs.answered(t, b.pid)
				for _, v := range lost(vs.leave()) {
					t.Errorf("lost: %v", v)
				}
			})
		}
	}
}

// fly has a user send n descriptors that nobody receives until they land.
func fly(t *testing.T, user, n int) (land func()) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	from, to := listener.NewFD(pair[0]), listener.NewFD(pair[1])
	land = func() {
		_ = from.Close()
		_ = to.Close()
	}
	t.Cleanup(land)
	flown := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its user
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(user), uintptr(user), uintptr(user)); e != 0 {
			flown <- e
			return
		}
		var inner error
		err := from.Control(func(sock uintptr) {
			for ; n > 0 && inner == nil; n -= 100 {
				all := make([]int, min(n, 100))
				for i := range all {
					all[i] = int(sock)
				}
				inner = unix.Sendmsg(int(sock), []byte("x"), unix.UnixRights(all...), nil, unix.MSG_DONTWAIT)
			}
		})
		if err == nil {
			err = inner
		}
		flown <- err
	}()
	if err := <-flown; err != nil {
		t.Fatal(err)
	}
	return land
}
