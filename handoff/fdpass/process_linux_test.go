package fdpass

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/listener"
)

func TestGet(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		it := startTarget(t, nil)
		p := it.open(t)
		if p.PID() != it.cmd.Process.Pid || p.Alive() != nil {
			t.Errorf("process %d, %v", p.PID(), p.Alive())
		}
		noNewFDs(t, func() {
			for name, n := range it.has {
				fd, err := p.Get(n)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				_, fdFlags := flags(t, fd)
				control(t, fd, func(own int) {
					link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(own))
					if want := it.link(t, name); link != want || err != nil || fdFlags&unix.FD_CLOEXEC == 0 {
						t.Errorf("%s: got %s, %v, want %s; flags %#x", name, link, err, want, fdFlags)
					}
				})
				if name == "file" { // the description is shared: its offset is at the end, its status flags are there
					f := fd.File("file")
					if at, err := f.Seek(0, 1); at != 4 || err != nil {
						t.Errorf("the offset is %d, %v", at, err)
					}
					if st, _ := flags(t, f); st&unix.O_APPEND == 0 || st&unix.O_NONBLOCK != 0 {
						t.Errorf("status flags %#x", st)
					}
					f.Close()
				}
				fd.Close()
			}
		})
		fd, err := p.GetInode(it.has["socket"], it.inode(t, "socket"))
		if err != nil {
			t.Fatal(err)
		}
		defer fd.Close()
		if info, err := listener.Describe(fd); err != nil || !info.Listening || info.Network != "tcp" {
			t.Errorf("got %+v, %v", info, err)
		}
	})
}

// TestGetInodeOfFile takes no file that has the number of what was a socket.
func TestGetInodeOfFile(t *testing.T) {
	it := startTarget(t, nil)
	p := it.open(t)
	noNewFDs(t, func() {
		for _, name := range []string{"file", "deleted", "memfd"} {
			n, known := it.has[name]
			if !known {
				t.Fatalf("the target has no %s", name)
			}
			fd, err := p.Get(n)
			if err != nil {
				t.Fatal(err)
			}
			i, err := listener.Describe(fd)
			fd.Close()
			if err != nil {
				t.Fatal(err)
			}
			if fd, err := p.GetInode(n, i.Ino); !errors.Is(err, ErrChanged) {
				fd.Close()
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestGetErrors(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		it := startTarget(t, nil)
		p := it.open(t)
		ok := it.has["socket"]
		noNewFDs(t, func() {
			for _, n := range []int{-1, 999, 1 << 30} {
				if fd, err := p.Get(n); !errors.Is(err, ErrNotOpen) || !errors.Is(err, unix.EBADF) || fd != nil {
					t.Errorf("descriptor %d: %v", n, err)
				}
			}
			if fds, err := p.GetAll([]int{ok, ok, 999, ok}); !errors.Is(err, ErrNotOpen) || fds != nil || !strings.Contains(err.Error(), "999") {
				t.Errorf("one of four: %v", err)
			}
			if fds, err := p.GetAll(nil); err != nil || len(fds) != 0 {
				t.Errorf("nothing: %v, %v", fds, err)
			}
			if _, err := p.GetInode(it.has["file"], it.inode(t, "socket")); !errors.Is(err, ErrChanged) {
				t.Errorf("another file: %v", err)
			}
			restore := onlyFree(t, 2)
			fds, err := p.GetAll([]int{ok, ok, ok})
			restore()
			if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "RLIMIT_NOFILE") || fds != nil {
				t.Errorf("no room: %v", err)
			}
			restore = onlyFree(t, 0)
			_, err = OpenProcess(p.PID())
			restore()
			if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
				t.Errorf("no room: %v", err)
			}
		})
		closed := it.open(t)
		if err := closed.Close(); err != nil {
			t.Error(err)
		}
		_, get := closed.Get(ok)
		_, reopen := closed.Reopen(ok, os.O_RDWR)
		for _, err := range []error{get, reopen, closed.Alive()} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		}
		for _, pid := range []int{0, -1} {
			if _, err := OpenProcess(pid); !errors.Is(err, unix.EINVAL) {
				t.Errorf("process %d: %v", pid, err)
			}
		}
	})
}

// gone checks what is left of a process that is dead.
func gone(t *testing.T, p *Process, it *target) {
	t.Helper()
	_, get := p.Get(it.has["socket"])
	_, all := p.GetAll([]int{1, 2})
	_, inode := p.GetInode(it.has["socket"], 1)
	_, reopen := p.Reopen(it.has["file"], os.O_RDONLY)
	for _, err := range []error{p.Alive(), get, all, inode, reopen} {
		if !errors.Is(err, ErrGone) {
			t.Errorf("got %v", err)
		}
	}
}

func TestZombieAndGone(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		it := startTarget(t, nil)
		pid := it.cmd.Process.Pid
		p, used := it.open(t), it.open(t)
		fd, err := used.Reopen(it.has["file"], os.O_RDONLY) // it has its directory open now
		if err != nil {
			t.Fatal(err)
		}
		fd.Close()
		it.zombie(t)
		gone(t, p, it)
		gone(t, used, it)
		late, err := OpenProcess(pid)
		if err != nil {
			t.Fatalf("a zombie still has its number: %v", err)
		}
		defer late.Close()
		gone(t, late, it)
		dup, err := listener.Dup(it.pidfd)
		if err != nil {
			t.Fatal(err)
		}
		defer dup.Close()
		it.end(t)
		gone(t, p, it)
		gone(t, used, it)
		if _, err := OpenProcess(pid); !errors.Is(err, ErrGone) {
			t.Errorf("got %v", err)
		}
		if _, err := NewProcess(dup); !errors.Is(err, ErrGone) {
			t.Errorf("its pidfd: got %v", err)
		}
	})
}

func TestNewProcess(t *testing.T) {
	it := startTarget(t, nil)
	p, err := NewProcess(it.pidfd)
	if err != nil {
		t.Fatal(err)
	}
	if p.PID() != it.cmd.Process.Pid || p.Alive() != nil {
		t.Errorf("process %d, %v", p.PID(), p.Alive())
	}
	fd, err := p.Get(it.has["null"])
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	if _, err := NewProcess(fd); err == nil || !strings.Contains(err.Error(), "pidfd") {
		t.Errorf("/dev/null: %v", err)
	}
	if err := fd.Control(func(uintptr) {}); err != nil {
		t.Errorf("it was taken in spite of the error: %v", err)
	}
	if _, err := NewProcess(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("nothing: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// Another process gets the number between look and take, really.
func TestReusedPID(t *testing.T) {
	if os.Getuid() != 0 {
		needsRoot(t, "only root may choose the next number")
	}
	it := startTarget(t, nil)
	pid, ino, n := it.cmd.Process.Pid, it.inode(t, "socket"), it.has["socket"]
	before := it.open(t)
	used := it.open(t)
	if fd, err := used.Reopen(it.has["file"], os.O_RDONLY); err != nil {
		t.Fatal(err)
	} else {
		fd.Close()
	}
	it.end(t)
	var other *target
	for try := 0; other == nil; try++ {
		if try == 200 {
			t.Fatal("the number is always taken by others")
		}
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		if next := startTarget(t, nil); next.cmd.Process.Pid == pid {
			other = next
		} else {
			next.end(t)
		}
	}
	gone(t, before, it)
	gone(t, used, it)
	late := openProcess(t, pid)
	if _, err := late.GetInode(n, ino); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v", err)
	}
	if fd, err := late.GetInode(n, other.inode(t, "socket")); err != nil {
		t.Error(err)
	} else {
		fd.Close()
	}
}

func refusedWith(t *testing.T, err, cause error, advice string) {
	t.Helper()
	if !errors.Is(err, ErrRefused) || !errors.Is(err, cause) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), advice) {
		t.Errorf("got %v; want %v, and %q", err, cause, advice)
	}
	t.Log(err)
}

// The process that started this one is root's, that is another user's.
func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 && os.Getenv(userVar) == "" {
		needsRoot(t, "needs root at first")
	}
	asUser(t, nil, func(t *testing.T) {
		p := openProcess(t, os.Getppid())
		_, err := p.Get(0)
		refusedWith(t, err, ErrOtherUser, "[0 0 0]")
		_, err = p.Reopen(0, os.O_RDONLY)
		refusedWith(t, err, ErrOtherUser, "same user")
	})
}

func TestNotDumpable(t *testing.T) {
	asUser(t, nil, func(t *testing.T) {
		it := startTarget(t, func(c *exec.Cmd) { c.Env = append(c.Env, "SEGUE_TEST_DUMPABLE=0") })
		p := it.open(t)
		_, err := p.Get(it.has["socket"])
		refusedWith(t, err, ErrNotDumpable, "PR_SET_DUMPABLE")
		_, err = p.Reopen(it.has["file"], os.O_RDONLY)
		refusedWith(t, err, ErrNotDumpable, "PR_SET_DUMPABLE")
	})
}

func TestMoreCapabilities(t *testing.T) {
	if os.Getuid() != 0 && os.Getenv(userVar) == "" {
		needsRoot(t, "needs root at first")
	}
	const pidVar, fdVar = "SEGUE_TEST_PID", "SEGUE_TEST_FD"
	var env []string
	if os.Getuid() == 0 {
		it := startTarget(t, func(c *exec.Cmd) {
			c.SysProcAttr.Credential = &syscall.Credential{Uid: ordUser, Gid: ordUser}
			c.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE}
		})
		env = []string{fmt.Sprint(pidVar, "=", it.cmd.Process.Pid), fmt.Sprint(fdVar, "=", it.has["socket"])}
	}
	asUser(t, env, func(t *testing.T) {
		pid, _ := strconv.Atoi(os.Getenv(pidVar))
		n, _ := strconv.Atoi(os.Getenv(fdVar))
		_, err := openProcess(t, pid).Get(n)
		refusedWith(t, err, ErrPrivileged, "0x400")
	})
}

// A process that starts another with SysProcAttr.Credential is not dumpable afterwards: until execve(2) they share memory,
// and setuid(2) takes the flag from it. ErrNotDumpable says so.
func TestCredentialTakesDumpable(t *testing.T) {
	if os.Getuid() != 0 {
		needsRoot(t, "only root may start another user's process")
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordUser, Gid: ordUser}}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	is, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile("/proc/sys/fs/suid_dumpable"); err != nil || strings.TrimSpace(string(want)) != strconv.Itoa(is) {
		t.Errorf("dumpable is %d, want what fs.suid_dumpable says: %s, %v", is, want, err)
	}
}

// A container's seccomp filter, as it was usual: EPERM for pidfd_getfd.
func TestFiltered(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVar+"=filtered")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}

func runFiltered() error {
	const retAllow, retErrno = 0x7fff0000, 0x00050000
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the system call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_PIDFD_GETFD},
		{Code: unix.BPF_RET | unix.BPF_K, K: retErrno | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: retAllow},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const setModeFilter, tsync = 1, 1
	runtime.LockOSThread() // the thread that asks must have no_new_privs; with TSYNC the others get both
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, tsync, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	p, err := OpenProcess(os.Getppid())
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = p.Get(0)
	if !errors.Is(err, ErrRefused) || !errors.Is(err, ErrFiltered) || !strings.Contains(err.Error(), "seccomp") {
		return fmt.Errorf("got %w", err)
	}
	fmt.Println(err)
	return nil
}
