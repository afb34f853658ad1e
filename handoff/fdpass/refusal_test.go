package fdpass

import (
	"errors"
	"strings"
	"testing"
)

// All causes, also those that this machine cannot have: they are only ever found after the kernel has refused.
func TestRefused(t *testing.T) {
	same := func(id uint32) [4]uint32 { return [4]uint32{id, id, id, id} }
	user := func(id uint32) status { return status{uid: same(id), gid: same(id)} }
	root := status{capPrm: ^uint64(0), capEff: ^uint64(0)}
	dropped := user(7)
	dropped.uid[2] = 0
	capable := user(7)
	capable.capPrm = 0x400
	causes := []error{ErrFiltered, ErrOtherUser, ErrNotDumpable, ErrPrivileged, ErrYama}
	for _, tt := range []struct {
		name   string
		access access
		facts  facts
		want   error
		advice string
	}{
		{"seccomp", attach, facts{selfRefused: true, yama: -1}, ErrFiltered, "seccomp"},
		{"seccomp does not matter", read, facts{selfRefused: true, know: true, me: user(7), it: user(8), yama: -1}, ErrOtherUser, "same user"},
		{"another user", attach, facts{know: true, me: user(7), it: user(8), yama: 1}, ErrOtherUser, "same user"},
		{"saved uid differs", attach, facts{know: true, me: user(7), it: dropped, yama: -1}, ErrOtherUser, "[7 7 0]"},
		{"real uid counts", attach, facts{know: true, me: status{uid: [4]uint32{7, 8, 8, 8}, gid: same(8)}, it: user(8), yama: -1}, ErrOtherUser, "7"},
		{"file system uid counts", read, facts{know: true, me: status{uid: [4]uint32{8, 8, 8, 7}, gid: same(8)}, it: user(8), yama: -1}, ErrOtherUser, "7"},
		{"user namespace", attach, facts{know: true, me: root, it: user(8), otherUserNS: true, yama: -1}, ErrOtherUser, "namespace"},
		{"not dumpable", attach, facts{know: true, me: user(7), it: user(7), ownerKnown: true, yama: 1}, ErrNotDumpable, "PR_SET_DUMPABLE"},
		{"not dumpable, read", read, facts{know: true, me: user(7), it: user(7), ownerKnown: true, yama: 1}, ErrNotDumpable, "PR_SET_DUMPABLE"},
		{"more capabilities", attach, facts{know: true, me: user(7), it: capable, ownerKnown: true, owner: 7, yama: -1}, ErrPrivileged, "0x400"},
		{"yama 1", attach, facts{know: true, me: user(7), it: user(7), ownerKnown: true, owner: 7, yama: 1}, ErrYama, "PR_SET_PTRACER"},
		{"yama 2", attach, facts{know: true, me: user(7), it: user(7), yama: 2}, ErrYama, "CAP_SYS_PTRACE"},
		{"yama 3", attach, facts{know: true, me: root, it: user(7), yama: 3}, ErrYama, "next boot"},
		{"yama lets read", read, facts{know: true, me: user(7), it: user(7), ownerKnown: true, owner: 7, yama: 2}, nil, "security module"},
		{"yama lets CAP_SYS_PTRACE", attach, facts{know: true, me: root, it: user(7), yama: 1}, nil, "security module"},
		{"nothing known", attach, facts{yama: 1}, nil, "security module"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.facts.refused(tt.access)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.advice) {
				t.Errorf("got %v", err)
			}
			for _, cause := range causes {
				if got := errors.Is(err, cause); got != (cause == tt.want) {
					t.Errorf("is it %v? %v: %v", cause, got, err)
				}
			}
		})
	}
}
