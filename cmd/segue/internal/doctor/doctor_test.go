package doctor

import (
	"strings"
	"testing"
)

// TestJudge plants each thing that can be wrong, and wants it found, with what to do about it.
func TestJudge(t *testing.T) {
	unit := func(set ...string) func(*report) {
		return func(r *report) {
			p := map[string]string{"Type": "notify", "NotifyAccess": "main", "PIDFile": "/run/app.pid", "KillMode": "control-group", "WatchdogUSec": "10s",
				"FileDescriptorStoreMax": "16", "ExecReload": "{ path=/usr/local/bin/segue ; argv[]=segue upgrade /run/s }", "MainPID": "7"}
			for i := 0; i < len(set); i += 2 {
				p[set[i]] = set[i+1]
			}
			judgeUnit(r, "app.service", p, 7, 3, "/run/s")
		}
	}
	for _, tt := range []struct {
		name  string
		judge func(*report)
		level Level
		want  string
	}{
		{"descriptors", budget{20, 1024, 4096, 3, false}.judge, OK, "20 of 1024"},
		{"a small limit", budget{20, 60, 60, 3, true}.judge, Fault, "needs 64"},
		{"more sockets than room", budget{500, 512, 512, 500, false}.judge, Fault, "no room"},
		{"many connections", budget{970, 1024, 1024, 3, false}.judge, Warning, "stay behind"},
		{"in flight", budget{20, 256, 256, 3, false}.judge, Warning, "in flight"},
		{"in flight, by root", budget{20, 256, 256, 3, true}.judge, OK, "up to 512"},
		{"somaxconn", func(r *report) { judgeQueues(r, 4096, []queue{{":80", 1, 4096}}) }, OK, "4096"},
		{"a small somaxconn", func(r *report) { judgeQueues(r, 128, nil) }, Warning, "is 128"},
		{"an older queue", func(r *report) { judgeQueues(r, 4096, []queue{{":80", 0, 128}}) }, Warning, "128 may wait at :80"},
		{"a queue that fills", func(r *report) { judgeQueues(r, 4096, []queue{{":80", 3000, 4096}}) }, Warning, "3000 wait"},
		{"no Yama", func(r *report) { judgeYama(r, "") }, OK, "pidfd_getfd"},
		{"Yama 1", func(r *report) { judgeYama(r, "1") }, OK, "exception"},
		{"Yama 2", func(r *report) { judgeYama(r, "2") }, Warning, "are sent"},
		{"unit", unit(), OK, "Type=notify"},
		{"notify without a PID file", unit("PIDFile", ""), Warning, "PIDFile"},
		{"exec without a PID file", unit("PIDFile", "", "Type", "exec", "WatchdogUSec", "0"), Fault, "PIDFile"},
		{"nobody may notify", unit("NotifyAccess", "none"), Fault, "NotifyAccess=none"},
		{"a watchdog without notify", unit("Type", "exec"), Warning, "watchdog"},
		{"kill mode", unit("KillMode", "process"), Warning, "left behind"},
		{"a small store", unit("FileDescriptorStoreMax", "2"), Warning, "3 sockets"},
		{"no store", unit("FileDescriptorStoreMax", "0"), OK, "notify"},
		{"no reload", unit("ExecReload", ""), Warning, "segue upgrade /run/s"},
		{"reload by itself", unit("ExecReload", "", "Type", "notify-reload"), OK, "notify-reload"},
		{"reload by signal", unit("ExecReload", "{ path=/bin/kill ; argv[]=/bin/kill -HUP $MAINPID }"), Warning, "at once"},
		{"another main process", unit("MainPID", "8"), Warning, "process 8"},
	} {
		r := &report{}
		tt.judge(r)
		text := ""
		for _, f := range r.all {
			text += f.Found + "\n" + f.Do + "\n"
			if (f.Level == OK) != (f.Do == "") {
				t.Errorf("%s: %+v", tt.name, f)
			}
		}
		if got := Worst(r.all); got != tt.level || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %s, want %s and %q in\n%s", tt.name, got, tt.level, tt.want, text)
		}
	}
}
