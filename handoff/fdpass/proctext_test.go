package fdpass

import (
	"errors"
	"fmt"
	"testing"
)

const statusText = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t\nCapPrm:\t0000000000000400\nCapEff:\t0000000000080000\n"

func TestParseStatus(t *testing.T) {
	got, err := parseStatus([]byte(statusText))
	want := status{uid: [4]uint32{1, 2, 3, 4}, gid: [4]uint32{5, 6, 7, 8}, capPrm: 0x400, capEff: capSysPtrace}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "Uid:\t1\t2\t3\n", "Uid:\t1\t2\t3\t-4\n", statusText[:40], "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nCapPrm:\tx\n"} {
		if got, err := parseStatus([]byte(bad)); !errors.Is(err, errProc) {
			t.Errorf("%q: got %+v, %v", bad, got, err)
		}
	}
}

func TestPidOf(t *testing.T) {
	for text, want := range map[string]struct {
		pid int
		err error
	}{
		"pos:\t0\nPid:\t4711\nNSpid:\t4711\n": {pid: 4711},
		"Pid:\t-1\n":                          {err: ErrGone},
		"Pid:\tx\n":                           {err: errProc},
	} {
		if pid, err := pidOf([]byte(text)); pid != want.pid || !errors.Is(err, want.err) {
			t.Errorf("%q: got %d, %v; want %+v", text, pid, err, want)
		}
	}
	for _, text := range []string{"", "Pid:\t0\n", "pos:\t0\n"} {
		if pid, err := pidOf([]byte(text)); err == nil {
			t.Errorf("%q: got %d", text, pid)
		}
	}
}

// FuzzProcText: no text, however wrong, panics; what is read from it can be written again.
func FuzzProcText(f *testing.F) {
	f.Add([]byte(statusText))
	f.Add([]byte("Pid:\t4711\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if pid, err := pidOf(b); err == nil && pid <= 0 {
			t.Fatalf("pid %d", pid)
		}
		st, err := parseStatus(b)
		if err != nil {
			return
		}
		u, g := st.uid, st.gid
		again, err := parseStatus(fmt.Appendf(nil, "Uid:\t%d\t%d\t%d\t%d\nGid:\t%d\t%d\t%d\t%d\nCapPrm:\t%016x\nCapEff:\t%x\n",
			u[0], u[1], u[2], u[3], g[0], g[1], g[2], g[3], st.capPrm, st.capEff))
		if err != nil || again != st {
			t.Fatalf("got %+v, %v; want %+v", again, err, st)
		}
	})
}
