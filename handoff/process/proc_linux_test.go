package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func (s stat) String() string {
	flags := 0x400000
	if s.kernel {
		flags |= 0x200000
	}
	if s.ending {
		flags |= 4
	}
	return fmt.Sprintf("7 (a) b) %c %d 7 7 0 -1 %d 0 0", s.state, s.parent, flags)
}

func TestStat(t *testing.T) {
	st, err := statOf(os.Getpid())
	if err != nil || st.parent != os.Getppid() || st.kernel || !strings.ContainsRune("RS", rune(st.state)) {
		t.Errorf("this process has %+v, %v", st, err)
	}
	for _, want := range []stat{{'Z', 1, false, true}, {'I', 2, true, false}, {'R', 1, false, true}} {
		if got, err := parseStat([]byte(want.String())); err != nil || got != want {
			t.Errorf("%v is %+v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", ")", "1 (a) R", "1 (a) R x 1 1 1 1 1", "1 (a) R 1 1 1 1 1 x", "1 (a) RR 1 1 1 1 1 1"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add("1 (init) S 0 1 1 0 -1 4194560 1 2 3")
	f.Fuzz(func(t *testing.T, s string) {
		st, err := parseStat([]byte(s))
		if err != nil {
			return
		}
		if again, err := parseStat([]byte(st.String())); err != nil || again != st {
			t.Errorf("%q is %+v, and then %+v, %v", s, st, again, err)
		}
	})
}

// TestBelow finds each process once, also in a table that has circles.
func TestBelow(t *testing.T) {
	children := map[int][]int{1: {2, 3}, 2: {4}, 4: {5, 2}, 5: {1, 5}, 7: {8}}
	if got := below(1, children); !slices.Equal(got, []int{2, 3, 4, 5}) {
		t.Errorf("found %v", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrUnexpectedEOF)
	if _, err := descendants(ctx, 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func TestInodeOf(t *testing.T) {
	for link, want := range map[string]uint64{"socket:[4858273]": 4858273, "socket:[": 0, "socket:[x]": 0, "pipe:[5]": 0, "/socket:[5]": 0} {
		if got, ok := inodeOf(link, "socket"); got != want || ok != (want != 0) {
			t.Errorf("%s is %d, %v", link, got, ok)
		}
	}
}

// TestHalted takes no error but that there is no such process for its end.
func TestHalted(t *testing.T) {
	if is, err := halted(os.Getpid()); is || err != nil {
		t.Errorf("this process: %v, %v", is, err)
	}
	if is, err := halted(1 << 30); !is || err != nil {
		t.Errorf("nobody: %v, %v", is, err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	is, err := halted(os.Getpid())
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if is || !errors.Is(err, unix.EMFILE) {
		t.Errorf("without room for a descriptor: %v, %v", is, err)
	}
	if p := pauseAfter(time.Second); p < 10*time.Second {
		t.Errorf("after a second, the next attempt comes in %v", p)
	}
}
