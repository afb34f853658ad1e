package listener

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// devNull is a descriptor to own.
func devNull(t *testing.T) int {
	t.Helper()
	n, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	return n
}

// isOpen asks the kernel.
func isOpen(n int) bool {
	_, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	return err == nil
}

func TestFD(t *testing.T) {
	n := devNull(t)
	fd := NewFD(n)
	must(t, fd.Control(func(got uintptr) {
		if int(got) != n {
			t.Errorf("Control lends %d, want %d", got, n)
		}
	}))
	raw, err := fd.SyscallConn()
	must(t, err)
	if err := raw.Read(nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Read: %v", err)
	}
	if err := raw.Write(nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Write: %v", err)
	}
	must(t, fd.Close())
	if isOpen(n) {
		t.Error("open after Close")
	}
	must(t, fd.Close())
	if err := raw.Control(func(uintptr) { t.Error("lent after Close") }); err != net.ErrClosed {
		t.Errorf("Control after Close: %v", err)
	}
}

func TestFDOwnsNothing(t *testing.T) {
	given := NewFD(devNull(t))
	n := given.Disown()
	defer unix.Close(n)
	filed := NewFD(devNull(t))
	file := filed.File("null")
	defer file.Close()
	if file.Name() != "null" {
		t.Errorf("the file is called %s", file.Name())
	}
	for name, fd := range map[string]*FD{
		"nil": nil, "zero": {}, "negative": NewFD(-1), "disowned": given, "a file now": filed,
	} {
		if err := fd.Control(func(uintptr) { t.Errorf("%s: called", name) }); err != net.ErrClosed {
			t.Errorf("%s: Control: %v", name, err)
		}
		if _, err := fd.SyscallConn(); err != net.ErrClosed {
			t.Errorf("%s: SyscallConn: %v", name, err)
		}
		if _, err := Dup(fd); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Dup: %v", name, err)
		}
		if _, err := Describe(fd); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: Describe: %v", name, err)
		}
		if got := fd.Disown(); got != -1 {
			t.Errorf("%s: Disown: %d", name, got)
		}
		if fd.File("") != nil {
			t.Errorf("%s: File made one", name)
		}
		must(t, fd.Close())
	}
	if !isOpen(n) {
		t.Error("closed, though disowned")
	}
	if _, err := file.Read(make([]byte, 1)); err == nil {
		t.Error("the file is not /dev/null")
	}
}

func TestFDClosedWhileLent(t *testing.T) {
	n := devNull(t)
	fd := NewFD(n)
	must(t, fd.Control(func(uintptr) {
		must(t, fd.Control(func(uintptr) { must(t, fd.Close()) }))
		if !isOpen(n) {
			t.Error("closed under a borrower")
		}
		if err := fd.Control(nil); err != net.ErrClosed {
			t.Errorf("lent after Close: %v", err)
		}
	}))
	if isOpen(n) {
		t.Error("open after the last borrower left")
	}
}

// However loans and Close meet, a loan is good while it lasts, and the last of them closes.
func TestFDInParallel(t *testing.T) {
	for range 300 {
		n := devNull(t)
		fd := NewFD(n)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				<-begin
				for fd.Control(func(uintptr) {
					if !isOpen(n) {
						t.Error("closed under a borrower")
					}
				}) == nil {
					runtime.Gosched()
				}
			})
		}
		for range 2 {
			wg.Go(func() {
				<-begin
				if err := fd.Close(); err != nil {
					t.Errorf("closed twice: %v", err)
				}
			})
		}
		close(begin)
		wg.Wait()
		if isOpen(n) {
			t.Fatal("open after the last borrower left")
		}
	}
}

func TestNewFDs(t *testing.T) {
	a, b := devNull(t), devNull(t)
	fds := NewFDs([]int{a, -1, b})
	must(t, fds[0].Close())
	must(t, fds[1].Close())
	if isOpen(a) || !isOpen(b) {
		t.Error("they do not own one each")
	}
	if got := fds[2].Disown(); got != b {
		t.Errorf("the third is %d, want %d", got, b)
	}
	must(t, unix.Close(b))
	ns := make([]int, 253)
	for i := range ns {
		ns[i] = -1
	}
	if n := testing.AllocsPerRun(100, func() { NewFDs(ns) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func TestDup(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	fd, err := Dup(l.(*net.TCPListener))
	must(t, err)
	defer fd.Close()
	must(t, fd.Control(func(n uintptr) {
		if flags, err := unix.FcntlInt(n, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("F_GETFD: %#x, %v; want FD_CLOEXEC", flags, err)
		}
		if n < 3 {
			t.Errorf("the number is %d", n)
		}
	}))
	a, err := Describe(l.(*net.TCPListener))
	must(t, err)
	b, err := Describe(fd)
	must(t, err)
	if a != b || !a.Same(b) {
		t.Errorf("the copy is %+v, want %+v", b, a)
	}
}

// limitFiles lowers RLIMIT_NOFILE so that exactly n more descriptors can be opened, until restore is called.
func limitFiles(t *testing.T, n int) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	limit := uint64(3)
	for free := 0; ; limit++ {
		if !isOpen(int(limit)) {
			if free == n {
				break
			}
			free++
		}
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: old.Max}))
	return func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }
}

func TestOutOfDescriptors(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0", Options{})
	restore := limitFiles(t, 0)
	err := l.Park()
	restore()
	checkOpError(t, err, "park", l.Addr(), unix.EMFILE)
	if l.bare != nil || l.gate.isOpen() {
		t.Error("it is not paused")
	}
	must(t, l.Park())

	for _, spare := range []int{0, 1} {
		restore = limitFiles(t, spare)
		err = l.Open()
		restore()
		checkOpError(t, err, "open", l.Addr(), unix.EMFILE)
		if l.bare == nil || l.gate.isOpen() {
			t.Error("it is not parked")
		}
	}
	restore = limitFiles(t, 2)
	err = l.Open()
	restore()
	must(t, err)

	call := accept(t, l)
	dial(t, l.Addr())
	must(t, within(t, "Accept", call).err)
}
