package listener

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// FD owns one descriptor, known to no poller.
//
// It is a [syscall.Conn], so that it can be described, duplicated and sent like a live socket. The zero value and the
// nil pointer own nothing, and behave like an FD that was closed. The methods may be called concurrently: a descriptor
// that is closed while Control borrows it stays open until the last borrower has returned. Nothing closes an FD that
// is forgotten.
type FD struct {
	n     int32
	state atomic.Uint32 // one word: thousands are sent at once, and locking each twice is felt beside what the kernel does
}

// What state is made of.
const (
	fdOwned    = 1 << iota
	fdClosing  // closed while borrowed: the last borrower closes
	fdBorrower // 1 in the number of borrowers inside Control
)

var _ syscall.Conn = (*FD)(nil)

// NewFD takes the descriptor n: the FD closes it, unless it gives it away. A negative n is nothing to own.
func NewFD(n int) *FD {
	f := new(FD)
	f.own(n)
	return f
}

func (f *FD) own(n int) {
	f.n = int32(n)
	if n >= 0 {
		f.state.Store(fdOwned)
	}
}

// NewFDs takes the descriptors ns, as [NewFD] does with each, in two allocations however many they are.
func NewFDs(ns []int) []*FD {
	fds := make([]FD, len(ns))
	ptrs := make([]*FD, len(ns))
	for i, n := range ns {
		fds[i].own(n)
		ptrs[i] = &fds[i]
	}
	return ptrs
}

// Control lends the descriptor to fn, which must neither keep nor close it. It returns [net.ErrClosed], and does not
// call fn, if there is none: after Close, Disown or File.
func (f *FD) Control(fn func(fd uintptr)) error {
	if !f.borrow() {
		return net.ErrClosed
	}
	defer f.release()
	fn(uintptr(f.n))
	return nil
}

// ControlAll lends the descriptors of all fds to fn at once, as Control does with one; the same FD may be there twice.
// The numbers, in the order of fds, are appended to buf, which spares an allocation if it has room. fn is not called if
// one of fds owns nothing: the error then says which, and wraps [net.ErrClosed].
func ControlAll(fds []*FD, buf []int, fn func(ns []int)) error {
	for i, f := range fds {
		if !f.borrow() {
			for _, f := range fds[:i] {
				f.release()
			}
			return fmt.Errorf("descriptor %d of %d: %w", i+1, len(fds), net.ErrClosed)
		}
		buf = append(buf, int(f.n))
	}
	defer func() {
		for _, f := range fds {
			f.release()
		}
	}()
	fn(buf)
	return nil
}

// borrow begins a loan, unless there is nothing to lend.
func (f *FD) borrow() bool {
	if f == nil {
		return false
	}
	for {
		s := f.state.Load()
		if s&fdOwned == 0 {
			return false
		}
		if f.state.CompareAndSwap(s, s+fdBorrower) {
			return true
		}
	}
}

// release ends a loan, and carries out the Close that came meanwhile.
func (f *FD) release() {
	if f.state.Add(^uint32(fdBorrower-1)) == fdClosing {
		_ = closeFD(int(f.n)) // nobody is left to tell: Close has returned
	}
}

// giveUp ends the ownership, and reports whether there was one, and whether somebody borrows the descriptor yet. then is
// what the last of those does: fdClosing, or 0 for nothing.
func (f *FD) giveUp(then uint32) (owned, borrowed bool) {
	for {
		s := f.state.Load()
		if s&fdOwned == 0 {
			return false, false
		}
		next := s &^ fdOwned
		if borrowed = s >= fdBorrower; borrowed {
			next |= then
		}
		if f.state.CompareAndSwap(s, next) {
			return true, borrowed
		}
	}
}

// SyscallConn gives access by Control only: no poller knows the descriptor, so Read and Write, which would have to
// wait, return an error that is [errors.ErrUnsupported]. It fails with [net.ErrClosed] like Control.
func (f *FD) SyscallConn() (syscall.RawConn, error) {
	if f == nil || f.state.Load()&fdOwned == 0 {
		return nil, net.ErrClosed
	}
	return (*rawFD)(f), nil
}

// Disown gives the descriptor to the caller, who closes it; f owns nothing afterwards. It returns -1 if there is none.
// A borrower inside Control still uses the number, so the caller must know that there is none.
func (f *FD) Disown() int {
	if f == nil {
		return -1
	}
	if owned, _ := f.giveUp(0); !owned {
		return -1
	}
	return int(f.n)
}

// File gives the descriptor to a new [os.File], which closes it; f owns nothing afterwards. It returns nil if there is
// none. A descriptor with O_NONBLOCK enters the runtime's poller, and stays non-blocking even after (*os.File).Fd, in
// contrast to what the File methods of package net return (os/file_unix.go: kindNewFile, kindSock).
func (f *FD) File(name string) *os.File {
	n := f.Disown()
	if n < 0 {
		return nil
	}
	return os.NewFile(uintptr(n), name)
}

// Close closes the descriptor. Further calls do nothing, and so does a call on nil.
func (f *FD) Close() error {
	if f == nil {
		return nil
	}
	if owned, borrowed := f.giveUp(fdClosing); !owned || borrowed {
		return nil
	}
	return closeFD(int(f.n))
}

// rawFD is the FD as a RawConn; the same memory, so that asking for one allocates nothing.
type rawFD FD

func (r *rawFD) Control(fn func(fd uintptr)) error { return (*FD)(r).Control(fn) }
func (r *rawFD) Read(func(fd uintptr) bool) error  { return errNoPoller }
func (r *rawFD) Write(func(fd uintptr) bool) error { return errNoPoller }
