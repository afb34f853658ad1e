package startenv

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestMeant: which variables are for this process, and which contradict each other.
func TestMeant(t *testing.T) {
	good := map[string]string{"LISTEN_FDS": "2", "LISTEN_PID": "7", "LISTEN_FDNAMES": "a:b"}
	for _, tt := range []struct {
		change  map[string]string // "-" removes
		names   string
		foreign bool
		err     string
	}{
		{nil, "a:b", false, ""},
		{map[string]string{"LISTEN_FDS": "-"}, "", false, ""},
		{map[string]string{"LISTEN_PID": "-"}, "", true, ""},
		{map[string]string{"LISTEN_PID": "8"}, "", true, ""},                        // an ancestor's
		{map[string]string{"LISTEN_PID": "8", "LISTEN_FDNAMES": "a"}, "", true, ""}, // what is stale may be anything
		{map[string]string{"LISTEN_PIDFDID": "99"}, "a:b", false, ""},
		{map[string]string{"LISTEN_PIDFDID": "98"}, "", true, ""}, // another process had that number
		{map[string]string{"LISTEN_PIDFDID": "x"}, "", false, "LISTEN_PIDFDID"},
		{map[string]string{"LISTEN_FDS": "0", "LISTEN_FDNAMES": ""}, "", false, ""},
		{map[string]string{"LISTEN_FDNAMES": "-"}, "unknown:unknown", false, ""},
		{map[string]string{"LISTEN_FDNAMES": "a"}, "", false, "has 1 names, and LISTEN_FDS says 2"},
		{map[string]string{"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b:c"}, "", false, "has 3 names, and LISTEN_FDS says 1"},
		{map[string]string{"LISTEN_FDS": "x"}, "", false, "LISTEN_FDS"},
		{map[string]string{"LISTEN_FDS": "-1"}, "", false, "LISTEN_FDS"},
		{map[string]string{"LISTEN_FDS": "99999999999999999999"}, "", false, "LISTEN_FDS"},
		{map[string]string{"LISTEN_PID": "x"}, "", false, "LISTEN_PID"},
		{map[string]string{"LISTEN_PID": "0"}, "", false, "LISTEN_PID"},
	} {
		env := maps.Clone(good)
		maps.Copy(env, tt.change)
		maps.DeleteFunc(env, func(_, v string) bool { return v == "-" })
		l, err := meant(env, 7, func() (uint64, error) { return 99, nil })
		if names := strings.Join(l.Names, ":"); names != tt.names || l.Foreign != tt.foreign || (err != nil) != (tt.err != "") ||
			err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%v: %+v, %v; want %q, %v, %q", env, l, err, tt.names, tt.foreign, tt.err)
		}
	}
}

// TestTakeListen: what was read is gone, also if it is an ancestor's.
func TestTakeListen(t *testing.T) {
	for _, pid := range []int{os.Getpid(), os.Getppid()} {
		t.Setenv("LISTEN_FDS", "1")
		t.Setenv("LISTEN_PID", strconv.Itoa(pid))
		t.Setenv("LISTEN_FDNAMES", "a")
		t.Setenv("LISTEN_PIDFDID", "12")
		if err := os.Unsetenv("LISTEN_PIDFDID"); pid == os.Getpid() && err != nil {
			t.Fatal(err)
		}
		l, err := TakeListen()
		if err != nil || l.Foreign != (pid != os.Getpid()) || (len(l.Names) == 1) == l.Foreign {
			t.Errorf("for %d: %+v, %v", pid, l, err)
		}
		for _, name := range ListenVariables() {
			if v, ok := os.LookupEnv(name); ok {
				t.Errorf("%s=%q is handed on", name, v)
			}
		}
	}
}

// TestWithListen: nothing is left of variables that were for another process, LISTEN_PIDFDID least of all.
func TestWithListen(t *testing.T) {
	old := []string{"A=1", "LISTEN_FDS=9", "LISTEN_PID=4", "LISTEN_PIDFDID=4", "LISTEN_FDNAMES=x", "LISTEN_FDSX=2"}
	for _, tt := range []struct {
		got  []string
		want string
	}{
		{WithListen(old, 7, []string{"a", "b"}), "A=1 LISTEN_FDSX=2 LISTEN_FDS=2 LISTEN_FDNAMES=a:b LISTEN_PID=7"},
		{WithListen(old, 0, []string{"a"}), "A=1 LISTEN_FDSX=2 LISTEN_FDS=1 LISTEN_FDNAMES=a"},
		{WithListen(old, 7, nil), "A=1 LISTEN_FDSX=2"},
		{WithPID(WithListen(old, 0, []string{"a"}), 8), "A=1 LISTEN_FDSX=2 LISTEN_FDS=1 LISTEN_FDNAMES=a LISTEN_PID=8"},
		{WithPID([]string{"A=1"}, 8), "A=1"},
	} {
		if !slices.Equal(tt.got, strings.Fields(tt.want)) {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
	if len(old) != 6 {
		t.Error("the argument was changed")
	}
}
