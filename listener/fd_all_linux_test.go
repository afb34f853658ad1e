package listener

import (
	"errors"
	"net"
	"slices"
	"testing"
)

func TestControlAll(t *testing.T) {
	a, b := devNull(t), devNull(t)
	fds := NewFDs([]int{a, b})
	defer fds[1].Close()
	var got []int
	must(t, ControlAll([]*FD{fds[0], fds[1], fds[0]}, []int{7}[:0], func(ns []int) {
		got = slices.Clone(ns)
		must(t, fds[0].Close())
		if !isOpen(a) {
			t.Error("closed under a borrower")
		}
	}))
	if !slices.Equal(got, []int{a, b, a}) {
		t.Errorf("lent %v, want %d, %d, %d", got, a, b, a)
	}
	if isOpen(a) {
		t.Error("open after the last borrower left")
	}
	for _, bad := range []*FD{nil, {}, fds[0]} {
		if err := ControlAll([]*FD{fds[1], bad}, nil, func([]int) { t.Error("called") }); !errors.Is(err, net.ErrClosed) {
			t.Errorf("one is closed: %v", err)
		}
	}
	must(t, fds[1].Close())
	if isOpen(b) {
		t.Error("a loan that failed was not ended")
	}
	must(t, ControlAll(nil, nil, func(ns []int) { got = ns }))
	if len(got) != 0 {
		t.Errorf("lent %v of nothing", got)
	}
}
