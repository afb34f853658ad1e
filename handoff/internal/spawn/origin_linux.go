package spawn

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// Origin is how this process was started, as of Join: successors are started alike, whatever the program does to its
// environment, arguments and directory later.
type Origin struct {
	args    []string
	env     []string
	dir     string // "": unknown, since it was removed or may not be read; successors are started where this process is then
	fromPWD bool   // dir is $PWD, which keeps symbolic links as they are
	program string // what is looked up anew for each successor
}

// NewOrigin is called by Join, before the program changes anything.
func NewOrigin() Origin {
	o := Origin{args: slices.Clone(os.Args)}
	o.env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envConn+"=") })
	o.dir, _ = os.Getwd()
	o.fromPWD = o.dir != "" && o.dir == os.Getenv("PWD")
	o.program = o.choose()
	return o
}

// Name is what other generations call this process in their logs. argv[0] may be anything, a name on the wire may not.
func (o *Origin) Name() string {
	name := o.program
	if len(o.args) > 0 && o.args[0] != "" {
		name = o.args[0]
	}
	name = filepath.Base(name)
	return strings.ToValidUTF8(name[:min(len(name), wire.MaxName)], "")
}

// choose returns the name by which the program of this process is found again. The names that are tried are, in order:
//
//	argv[0]           may name another file, or none (exec -a, systemd's ExecStart=@)
//	AT_EXECFN         what execve(2) was called with: getauxval(3); symbolic links are as they were then
//	os.Executable     the file that runs, by the name that it had then, without symbolic links
//
// The first that leads to the file that runs is taken. If none does, that file has been replaced since.
func (o *Origin) choose() string {
	argv0, execfn := "", execName()
	if len(o.args) > 0 {
		argv0 = o.args[0]
	}
	running, err := os.Stat("/proc/self/exe") // the file itself, though it may have another name or none
	for _, name := range []string{argv0, execfn} {
		if f, findErr := o.find(name); err == nil && findErr == nil && os.SameFile(f.info, running) {
			return name
		}
	}
	exe, exeErr := os.Executable()
	for _, name := range []string{execfn, exe, argv0} {
		if _, err := o.find(name); err == nil {
			return name
		}
	}
	if exeErr == nil {
		return exe
	}
	return argv0
}

// execName is what this process was executed as, or "" if that will lead nowhere: the descriptor of an fexecve(3).
func execName() string {
	const atExecFn = 31 // AT_EXECFN in linux/auxvec.h
	vector, err := unix.Auxv()
	if err != nil {
		return ""
	}
	for i := range vector {
		if vector[i][0] != atExecFn || vector[i][1] == 0 {
			continue
		}
		// The kernel has put the string above the stack of the first thread, where it stays (fs/exec.c, bprm->exec).
		name := unix.BytePtrToString(*(**byte)(unsafe.Pointer(&vector[i][1])))
		if !strings.HasPrefix(name, "/dev/fd/") && !strings.HasPrefix(name, "/proc/self/") {
			return name
		}
	}
	return ""
}

// found is what a name leads to.
type found struct {
	path     string // absolute, if the directory of Join is known
	relative bool   // it depends on that
	info     fs.FileInfo
}

// find looks a name up as a shell would have, at the time and place of Join. An error is that nobody could execute it; the
// path is there all the same, if there is only one.
func (o *Origin) find(name string) (found, error) {
	if name == "" {
		return found{}, os.ErrNotExist
	}
	if strings.Contains(name, "/") {
		return o.look(name)
	}
	for _, dir := range filepath.SplitList(o.variable("PATH")) { // an empty one is the current directory
		if f, err := o.look(filepath.Join(dir, name)); err == nil {
			return f, nil
		}
	}
	return found{}, &exec.Error{Name: name, Err: exec.ErrNotFound}
}

func (o *Origin) look(name string) (f found, err error) {
	f = found{path: name, relative: !filepath.IsAbs(name)}
	if f.relative && o.dir != "" {
		f.path = filepath.Join(o.dir, name)
	}
	f.info, err = os.Stat(f.path)
	switch {
	case err != nil:
	case f.info.IsDir():
		err = &fs.PathError{Op: "exec", Path: f.path, Err: syscall.EISDIR}
	case f.info.Mode()&0o111 == 0:
		err = &fs.PathError{Op: "exec", Path: f.path, Err: fs.ErrPermission}
	}
	return f, err
}

// variable is the last of that name, as for os/exec.
func (o *Origin) variable(name string) (value string) {
	for _, v := range o.env {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}

// Report tells at Join what an operator would else find out at the first upgrade.
func (o *Origin) Report(log *slog.Logger) {
	f, err := o.find(o.program)
	argv0 := slices.Concat(o.args, []string{""})[0]
	switch {
	case err != nil:
		log.Warn("the program of this process is not to be found; Upgrade needs it, or Config.Command", "program", o.program, "error", err)
	case f.relative && !o.fromPWD:
		log.Warn("started by a relative path in a directory that $PWD does not name; upgrades do not follow a symbolic link to it",
			"program", o.program, "directory", o.dir)
	case o.program != argv0:
		log.Info("argv[0] does not lead to the program of this process; its path does", "argv0", argv0, "program", f.path)
	}
}

// Command is the command for a successor: that of custom, which is Config.Command, if there is one. What it leaves out of its
// environment is that of Join. Otherwise it is this program as it was started, looked up anew, so that a replaced file or
// symbolic link is followed.
func (o *Origin) Command(custom func() *exec.Cmd, log *slog.Logger) *exec.Cmd {
	if custom == nil {
		return o.again(log)
	}
	cmd := custom()
	if cmd != nil && cmd.Env == nil {
		cmd.Env = slices.Clone(o.env)
	}
	return cmd
}

// again is the command that starts this program again.
func (o *Origin) again(log *slog.Logger) *exec.Cmd {
	f, err := o.find(o.program)
	cmd := exec.Command(f.path)
	cmd.Path, cmd.Dir, cmd.Env, cmd.Err = f.path, o.dir, slices.Clone(o.env), nil
	if len(o.args) > 0 {
		cmd.Args = slices.Clone(o.args)
	}
	if f.path == "" {
		cmd.Err = err // else execve(2) says it
	}
	if dir, is := o.leftBehind(f.path); is {
		log.Warn("the successor's program is in another directory, but starts in that of the old one", "program", f.path, "directory", dir)
	}
	return cmd
}

// leftBehind reports whether this process's program was in its directory, or below, and the successor's program is not:
// that of another release, to be started in the directory of the old one.
func (o *Origin) leftBehind(path string) (dir string, is bool) {
	exe, err1 := os.Executable()
	dir, err2 := filepath.EvalSymlinks(o.dir)
	path, err3 := filepath.EvalSymlinks(path)
	if errors.Join(err1, err2, err3) != nil || dir == "/" {
		return "", false
	}
	within := func(p string) bool { return strings.HasPrefix(p, dir+"/") }
	return dir, within(exe) && !within(path)
}

// explainStart says what the error of execve(2) does not: which of several things is missing.
func explainStart(cmd *exec.Cmd, err error) error {
	if cmd.Err != nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	if cmd.Dir != "" {
		if dirErr := unix.Access(cmd.Dir+"/.", unix.X_OK); dirErr != nil {
			return fmt.Errorf("its directory, %s, cannot be entered; make it again, or set Dir in Config.Command: %w", cmd.Dir, dirErr)
		}
	}
	info, statErr := os.Stat(cmd.Path)
	if errors.Is(err, fs.ErrNotExist) && filepath.IsAbs(cmd.Path) && statErr == nil && info.Mode().IsRegular() {
		return fmt.Errorf("%w: not that file, but the ELF interpreter that it needs (ldd), or that of its first line", err)
	}
	return err
}
