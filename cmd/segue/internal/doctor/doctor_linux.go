package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/control"
	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/handoff/timeline"
	"github.com/segue-go/segue/internal/kernel"
)

// Examine looks at the chain at path and at the machine; with an empty path, at the machine only. It changes nothing. The error,
// which is one of package control, is that nobody at path answers: what can be seen nevertheless is in the findings.
func Examine(ctx context.Context, path string) ([]Finding, error) {
	r := &report{}
	var asked error
	if path != "" {
		asked = examineChain(ctx, r, path)
	}
	if n, err := number("/proc/sys/net/core/somaxconn"); err == nil && path == "" {
		judgeQueues(r, n, nil)
	}
	scope, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	judgeYama(r, strings.TrimSpace(string(scope)))
	examineKernel(r)
	return r.all, asked
}

func number(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func examineKernel(r *report) {
	const check = "kernel"
	has := func(f kernel.Feature) bool {
		ok, err := f.Has()
		if err != nil {
			r.warn(check, fmt.Sprintf("whether there is %s cannot be found out: %v", f.Name, err), "see whether a container's seccomp profile is in the way")
		}
		return ok || err != nil
	}
	missing := 0
	for _, f := range kernel.Features() {
		if has(f) {
			continue
		}
		missing++
		without := strings.ReplaceAll(f.Without, "`", "")
		switch f.Name {
		case kernel.PidfdOpen.Name, kernel.PidfdGetfd.Name:
			r.warn(check, f.Name+" is missing or forbidden: "+without, "allow it in the seccomp profile of the container, or the unit's SystemCallFilter=")
		default:
			r.ok(check, "no %s (Linux %s): %s", f.Name, f.Since, without)
		}
	}
	if missing == 0 {
		r.ok(check, "has all that segue uses")
	}
}

// examineChain looks at who serves at path.
func examineChain(ctx context.Context, r *report, path string) error {
	chain, asked := (&control.Client{Path: path}).Status(ctx)
	var s timeline.Generation
	if asked == nil {
		s = chain.Generations[0]
	}
	uid := os.Geteuid()
	owner, err := ownerOf(path)
	if err == nil && asked != nil && !errors.Is(asked, control.ErrNobody) {
		uid = int(owner.Uid)
	}
	examinePath(r, path, uid)
	switch {
	case errors.Is(asked, control.ErrNobody):
		r.warn("owner", asked.Error(), "nothing, if the program is to be started for the first time")
	case errors.Is(asked, control.ErrSilent):
		r.fault("owner", asked.Error(), "see why it hangs; docs/operations.md, An incumbent that does not answer, says how to replace it")
	case errors.Is(asked, control.ErrNoControl):
		r.warn("owner", asked.Error(), "wait until it has started; upgrade an older version by its signal, or by starting the new one")
	case errors.Is(asked, control.ErrNoChain):
		r.fault("owner", asked.Error(), "give the program's Config.Path")
	case asked != nil:
		r.fault("owner", asked.Error(), "run this as the user of the program, or as root")
	default:
		r.ok("owner", "generation %d, process %d, is %s", s.Generation, s.PID, s.Phase)
		if s.Error != "" {
			r.warn("owner", "the last upgrade failed: "+s.Error, "mend the new version; until an upgrade succeeds this stays")
		}
		if s.Predecessor != 0 {
			r.ok("owner", "process %d, the generation before, drains", s.Predecessor)
		}
	}
	switch {
	case err != nil:
		return asked
	case owner.Pid == 0:
		r.warn("namespaces", "it is in another PID namespace, and cannot be looked at from here", "run this in its container")
		return asked
	}
	examineProcess(ctx, r, int(owner.Pid), len(s.Sockets), path)
	return asked
}

// ownerOf returns who listens at path, or at its control socket, as this process numbers it.
func ownerOf(path string) (*unix.Ucred, error) {
	var conn net.Conn
	var err error
	for _, p := range []string{path + ".control", path} { // at the latter, it logs a caller who said nothing
		d := net.Dialer{Timeout: time.Second}
		if conn, err = d.Dial("unixpacket", p); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(n uintptr) { cred, inner = unix.GetsockoptUcred(int(n), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(err, inner)
}

// examinePath looks at the path and its directory, for a program of user uid.
func examinePath(r *report, path string, uid int) {
	const check = "path"
	abs, err := filepath.Abs(path)
	if err != nil {
		r.fault(check, err.Error(), "give an absolute path")
		return
	}
	const longest = 107 - len(".control") // of sun_path, unix(7)
	bad := len(r.all)
	if len(abs) > longest {
		r.fault(check, fmt.Sprintf("it has %d bytes, and may have %d", len(abs), longest), "choose a shorter one")
	}
	dir := filepath.Dir(abs)
	var st unix.Stat_t
	switch err := unix.Stat(dir, &st); {
	case err != nil:
		r.fault(check, fmt.Sprintf("%s: %v", dir, err), "make the directory, RuntimeDirectory= of a unit for example")
		return
	case uid != 0 && !mayWrite(&st, uid):
		r.fault(check, fmt.Sprintf("user %d may not make files in %s", uid, dir), "give it a directory of its own")
	case st.Mode&0o002 != 0 && st.Mode&unix.S_ISVTX == 0:
		r.warn(check, "everybody may replace files in "+dir, "chmod o-w, or use a directory of the program's own")
	}
	for _, p := range []string{abs, abs + ".lock"} {
		if unix.Lstat(p, &st) == nil && int(st.Uid) != uid && st.Uid != 0 && uid != 0 {
			r.fault(check, fmt.Sprintf("%s is of user %d, and the program runs as user %d", p, st.Uid, uid), "remove it, if that user's program has ended; or choose another path")
		}
	}
	if len(r.all) == bad {
		r.ok(check, "%s can be used by user %d", abs, uid)
	}
}

// mayWrite asks the kernel where uid is this process's own, and reads the mode elsewhere; it does not know of ACLs there.
func mayWrite(st *unix.Stat_t, uid int) bool {
	if st.Uid == uint32(uid) {
		return st.Mode&0o300 == 0o300
	}
	groups, _ := os.Getgroups()
	if uid == os.Geteuid() && (int(st.Gid) == os.Getegid() || slices.Contains(groups, int(st.Gid))) {
		return st.Mode&0o030 == 0o030
	}
	return st.Mode&0o003 == 0o003 || st.Mode&0o030 == 0o030 // perhaps by its group
}

// examineProcess looks at the process that serves, as far as /proc shows it.
func examineProcess(ctx context.Context, r *report, pid, sockets int, path string) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	status := fields(dir + "status")
	if state := status["State"]; strings.HasPrefix(state, "T") || strings.HasPrefix(state, "t") {
		r.fault("owner", fmt.Sprintf("process %d is stopped (%s)", pid, state), fmt.Sprintf("kill -CONT %d, or let go of it in the debugger", pid))
	}
	open, err := os.ReadDir(dir + "fd")
	if err != nil {
		r.warn("descriptors", fmt.Sprintf("process %d cannot be looked at: %v", pid, err), "run this as its user, or as root")
	} else {
		var caps uint64
		_, _ = fmt.Sscanf(status["CapEff"], "%x", &caps)
		soft, hard := limits(dir + "limits")
		budget{len(open), soft, hard, sockets, caps&(1<<unix.CAP_SYS_RESOURCE|1<<unix.CAP_SYS_ADMIN) != 0}.judge(r)
	}
	if n, err := number("/proc/sys/net/core/somaxconn"); err == nil {
		judgeQueues(r, n, queuesOf(ctx, pid))
	}
	if cwd, err := os.Readlink(dir + "cwd"); err == nil && strings.HasSuffix(cwd, " (deleted)") {
		r.fault("start", "its working directory was removed: "+cwd, "make it again, or no successor can be started")
	} else if exe, err := os.Readlink(dir + "exe"); err == nil && strings.HasSuffix(exe, " (deleted)") {
		if _, err := os.Stat(dir + "root" + strings.TrimSuffix(exe, " (deleted)")); err != nil {
			r.warn("start", exe+" was removed, and nothing is there now", "put the program there, if Config.Command starts no other")
		} else {
			r.ok("start", "its program was replaced: the next upgrade starts the new one")
		}
	}
	var differ []string
	for _, ns := range []string{"pid", "net", "mnt", "user"} {
		its, err := os.Readlink(dir + "ns/" + ns)
		own, _ := os.Readlink("/proc/self/ns/" + ns)
		if err == nil && its != own {
			differ = append(differ, ns)
		}
	}
	if len(differ) > 0 {
		r.warn("namespaces", "it has other ones than this program: "+strings.Join(differ, ", "),
			"start successors by segue upgrade, or within its container: one that is started here may not find it, or not its files and networks")
	} else {
		r.ok("namespaces", "the same as this program's")
	}
	if status["Seccomp"] == "2" {
		r.ok("seccomp", "process %d has a filter, as in containers and units. The kernel does not show what it refuses. If it refuses pidfd_getfd, descriptors are sent", pid)
	} else {
		r.ok("seccomp", "no filter")
	}
	examineUnit(ctx, r, pid, sockets, path)
}

// fields reads lines of NAME: VALUE.
func fields(file string) map[string]string {
	b, _ := os.ReadFile(file)
	all := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		all[name] = strings.TrimSpace(value)
	}
	return all
}

// limits returns RLIMIT_NOFILE of a process; what is unlimited is very many.
func limits(file string) (soft, hard int) {
	soft, hard = 1<<30, 1<<30
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			_, _ = fmt.Sscan(rest, &soft, &hard)
		}
	}
	return soft, hard
}

// queuesOf returns the accept queues of TCP sockets of a process, as far as it may take copies of these.
func queuesOf(ctx context.Context, pid int) (queues []queue) {
	p, err := process.Open(pid)
	if err != nil {
		return nil
	}
	defer p.Close()
	all, err := p.List(ctx)
	if err != nil {
		return nil
	}
	for _, s := range all {
		if s.Network != "tcp" || !s.Listening || len(s.Holders) == 0 || s.Holders[0].PID != pid {
			continue
		}
		fd, err := p.Take(s)
		if err != nil {
			continue
		}
		_ = fd.Control(func(n uintptr) {
			// For a socket that listens, these have the queue: tcp_get_info in net/ipv4/tcp.c. Multipath TCP has none of it.
			if i, err := unix.GetsockoptTCPInfo(int(n), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && i.Sacked > 0 {
				queues = append(queues, queue{s.Address, int(i.Unacked), int(i.Sacked)})
			}
		})
		_ = fd.Close()
	}
	return queues
}

// examineUnit asks systemd about the unit of a process, if it is of one.
func examineUnit(ctx context.Context, r *report, pid, sockets int, path string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	unit := ""
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && (parts[0] == "0" || parts[1] == "name=systemd") {
			for dir := range strings.SplitSeq(parts[2], "/") {
				if strings.HasSuffix(dir, ".service") {
					unit = dir
				}
			}
		}
	}
	if unit == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	args := []string{"show", unit, "--property=Type,NotifyAccess,PIDFile,KillMode,WatchdogUSec,FileDescriptorStoreMax,ExecReload,MainPID"}
	if strings.Contains(string(b), "/user@") {
		args = append([]string{"--user"}, args...)
	}
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	properties := map[string]string{}
	for line := range bytes.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		properties[name] = value
	}
	if err != nil || properties["Type"] == "" {
		r.warn("unit", fmt.Sprintf("systemd does not say what %s is: %v", unit, err), "run this where systemctl works")
		return
	}
	judgeUnit(r, unit, properties, pid, sockets, path)
}
