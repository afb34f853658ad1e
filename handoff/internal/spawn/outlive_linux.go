package spawn

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// outlive takes from a command what would end a successor together with this process: it serves when this one is gone.
func outlive(cmd *exec.Cmd) {
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr // the program may use its own again
	}
	attr.Pdeathsig = 0
	if !attr.Setsid && !attr.Setpgid && !attr.Foreground && leadsTerminal() {
		attr.Setpgid = true
	}
	cmd.SysProcAttr = &attr
	if cmd.Cancel != nil { // exec.CommandContext: what ends a successor that does not own yet is the context of Upgrade
		cmd.Cancel = func() error { return os.ErrProcessDone }
		cmd.WaitDelay = 0
	}
}

// leadsTerminal reports whether the kernel hangs the terminal up when this process ends: the processes in the foreground,
// to which a successor would belong, get SIGHUP then (setpgid(2); the kernel's drivers/tty/tty_jobctrl.c: disassociate_ctty).
func leadsTerminal() bool {
	if sid, err := unix.Getsid(0); err != nil || sid != os.Getpid() {
		return false
	}
	tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // ENXIO: there is none
	if err == nil {
		_ = unix.Close(tty)
	}
	return err == nil
}
