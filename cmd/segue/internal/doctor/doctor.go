// Package doctor looks for what would make a handoff fail, or lose something, before there is one.
package doctor

import (
	"fmt"
	"strings"
)

// Level says how bad a finding is.
type Level string

// Levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // a handoff works, and something is lost or slower than it needs to be, or cannot be seen from here
	Fault   Level = "fault"   // a handoff fails, or a crash beside it does harm
)

// Finding is what one check has found.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Found string `json:"found"`
	Do    string `json:"do,omitempty"` // what to do about it; empty if it is well
}

// Worst returns the highest level among all.
func Worst(all []Finding) Level {
	worst := OK
	for _, f := range all {
		if f.Level == Fault || f.Level == Warning && worst == OK {
			worst = f.Level
		}
	}
	return worst
}

// report collects findings.
type report struct{ all []Finding }

func (r *report) ok(check, format string, args ...any) {
	r.all = append(r.all, Finding{Check: check, Level: OK, Found: fmt.Sprintf(format, args...)})
}

func (r *report) warn(check, found, do string) {
	r.all = append(r.all, Finding{check, Warning, found, do})
}

func (r *report) fault(check, found, do string) {
	r.all = append(r.all, Finding{check, Fault, found, do})
}

const (
	// upgradeNeeds is the least RLIMIT_NOFILE with which a process can be upgraded, and what a successor leaves to its program.
	upgradeNeeds = 64
	// inFlight is how many descriptors segue has in flight at most.
	inFlight = 512
	// shortQueue is an accept queue that a busy server fills while nobody accepts. The kernel's default is 4096, and was 128 before 5.4.
	shortQueue = 1024
)

// budget is what a process has of descriptors.
type budget struct {
	open, soft, hard int
	sockets          int  // that travel
	privileged       bool // the limit of those in flight is not for it
}

func (b budget) judge(r *report) {
	const check = "descriptors"
	raise := "raise its limit: LimitNOFILE= of the unit, ulimit -n, or prlimit --nofile for the process that runs"
	found := fmt.Sprintf("%d of %d are open (hard limit %d), %d sockets travel", b.open, b.soft, b.hard, b.sockets)
	switch {
	case b.soft < upgradeNeeds:
		r.fault(check, fmt.Sprintf("the limit is %d, and an upgrade needs %d", b.soft, upgradeNeeds), raise)
	case b.sockets+upgradeNeeds > b.soft:
		r.fault(check, found+": a successor has no room for them", raise)
	case b.open > b.soft-max(upgradeNeeds, b.soft/16):
		r.warn(check, found+": connections beyond what a successor has room for stay behind, and are drained", raise)
	default:
		r.ok(check, "%s", found)
	}
	if b.soft < inFlight && !b.privileged {
		r.warn("in flight", fmt.Sprintf("a user's processes may have %d descriptors in flight, by this limit, and a handoff sends up to %d", b.soft, inFlight), raise)
	} else {
		r.ok("in flight", "up to %d descriptors may be sent at once", inFlight)
	}
}

// queue is an accept queue.
type queue struct {
	address         string
	waiting, length int
}

func judgeQueues(r *report, somaxconn int, queues []queue) {
	const check = "accept queues"
	bad := len(r.all)
	if somaxconn < shortQueue {
		r.warn(check, fmt.Sprintf("net.core.somaxconn is %d: clients who come while nobody accepts may find a full queue", somaxconn),
			"sysctl -w net.core.somaxconn=4096, then upgrade")
	}
	for _, q := range queues {
		if q.length > 0 && q.waiting > q.length/2 {
			r.warn(check, fmt.Sprintf("at %s %d wait, and %d may", q.address, q.waiting, q.length), "see why the program does not accept, before it is upgraded")
		}
		if q.length < min(somaxconn, 1<<16-1) {
			r.warn(check, fmt.Sprintf("%d may wait at %s, and net.core.somaxconn is %d", q.length, q.address, somaxconn),
				"upgrade: the queue of what segue has bound follows. Another one keeps its maker's")
		}
	}
	if len(r.all) == bad {
		r.ok(check, "net.core.somaxconn is %d; %d queues of the program have room", somaxconn, len(queues))
	}
}

func judgeYama(r *report, scope string) {
	const check = "Yama"
	switch scope {
	case "", "0":
		r.ok(check, "does not restrict pidfd_getfd")
	case "1":
		r.ok(check, "ptrace_scope is 1: segue has its exception for upgrades. Config.Rescue needs root, or CAP_SYS_PTRACE")
	default:
		r.warn(check, "ptrace_scope is "+scope+": descriptors are sent, which works as well. TransportPidfd and Config.Rescue fail",
			"for these two, sysctl -w kernel.yama.ptrace_scope=1; where it is 3, only a boot changes it")
	}
}

// judgeUnit judges what systemctl show says of the unit of process pid.
func judgeUnit(r *report, unit string, p map[string]string, pid, sockets int, path string) {
	check, bad := "unit", len(r.all)
	typ := p["Type"]
	notify := strings.HasPrefix(typ, "notify")
	switch {
	case p["PIDFile"] != "":
	case notify:
		r.warn(check, unit+" has no PIDFile=: if the old process is killed in its guard, systemd restarts the service and ends the new one",
			"set PIDFile=, the same as Config.PIDFile")
	default:
		r.fault(check, fmt.Sprintf("%s has Type=%s and no PIDFile=: systemd takes the end of the old process for that of the service", unit, typ),
			"use handoff/systemd and Type=notify, and set PIDFile=, the same as Config.PIDFile")
	}
	if notify && p["NotifyAccess"] == "none" {
		r.fault(check, unit+" has NotifyAccess=none: nobody hears that the service is ready", "remove NotifyAccess=")
	}
	if !notify && p["WatchdogUSec"] != "" && p["WatchdogUSec"] != "0" && p["WatchdogUSec"] != "infinity" {
		r.warn(check, fmt.Sprintf("%s has a watchdog, and Type=%s: it is fed only by who uses handoff/systemd or segue run", unit, typ), "set Type=notify, or remove WatchdogSec=")
	}
	if k := p["KillMode"]; k == "process" || k == "none" {
		r.warn(check, unit+" has KillMode="+k+": processes that drain are left behind by a stop", "remove KillMode=")
	}
	var stored int
	if n, _ := fmt.Sscan(p["FileDescriptorStoreMax"], &stored); n == 1 && stored > 0 && stored < sockets {
		r.warn(check, fmt.Sprintf("%s has FileDescriptorStoreMax=%d, and there are %d sockets", unit, stored, sockets), "raise it, or a restart refuses clients")
	}
	switch reload := p["ExecReload"]; {
	case reload == "" && typ != "notify-reload":
		r.warn(check, unit+" has no ExecReload=", "set ExecReload=/usr/local/bin/segue upgrade "+path+", so that systemctl reload upgrades, and fails with the upgrade")
	case strings.Contains(reload, "kill"):
		r.warn(check, unit+" reloads by a signal: systemctl reload returns at once, whatever comes of the upgrade", "set ExecReload=/usr/local/bin/segue upgrade "+path)
	}
	if m := p["MainPID"]; m != "" && m != "0" && m != fmt.Sprint(pid) {
		r.warn(check, fmt.Sprintf("systemd takes process %s for the main one of %s, and process %d serves", m, unit, pid),
			"wait for the end of the guard, if an upgrade was just now; else see Config.PIDFile and handoff/systemd")
	}
	if len(r.all) == bad {
		r.ok(check, "%s, Type=%s", unit, typ)
	}
}
