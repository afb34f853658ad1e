package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/segue-go/segue/handoff/fdpass"
)

// TestPlainly wants to hear of each cause what it is and what to do about it, without words that only programmers know, and
// nothing that has been done already.
func TestPlainly(t *testing.T) {
	other := errors.New("other")
	if err := (env{}).plainly(other, 1); err != other {
		t.Errorf("%v has become %v", other, err)
	}
	for _, tt := range []struct {
		cause      error
		user, root string // what is to be in it
	}{
		{fdpass.ErrOtherUser, "another user or group", "another user namespace"},
		{fdpass.ErrNotDumpable, "it changed its user", "CAP_SYS_PTRACE"},
		{fdpass.ErrPrivileged, "capabilities that this program has not", "CAP_SYS_PTRACE"},
		{fdpass.ErrYama, "kernel.yama.ptrace_scope", "kernel.yama.ptrace_scope"},
		{fdpass.ErrFiltered, "seccomp", "seccomp"},
		{nil, "security module", "kernel's log"},
	} {
		err := fmt.Errorf("process: list: fdpass: take: %w", errors.Join(fdpass.ErrRefused, tt.cause))
		for want, e := range map[string]env{tt.user: {}, tt.root: {root: true}} {
			got := e.plainly(err, 1<<30)
			if !errors.Is(got, fdpass.ErrRefused) || !strings.Contains(got.Error(), want) || strings.Contains(got.Error(), "fdpass") {
				t.Errorf("%v: got %v, want %s", tt.cause, got, want)
			}
			if e.root && strings.Contains(got.Error(), "as root") {
				t.Errorf("%v: root hears %v", tt.cause, got)
			}
		}
	}
}

// TestLeftOut does not tell root to become root.
func TestLeftOut(t *testing.T) {
	if got := (env{}).leftOut(2); !strings.Contains(got, "2 processes") || !strings.Contains(got, "run as root") {
		t.Errorf("got %s", got)
	}
	if got := (env{root: true}).leftOut(1); !strings.Contains(got, "one process") || strings.Contains(got, "run as root") {
		t.Errorf("got %s", got)
	}
}
