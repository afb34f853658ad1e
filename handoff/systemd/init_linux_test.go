package systemd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
)

// envRole makes the test binary play a program.
const envRole = "SEGUE_TEST_ROLE"

// initProgram has Config.Init, and listens at the address of its first argument.
func initProgram(args []string) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	g, err := Join(ctx, handoff.Config{Init: true}, Options{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer g.Close()
	_, err = g.Listen(ctx, "tcp", args[0])
	if err == nil {
		err = g.Ready(ctx)
	}
	fmt.Println("process", os.Getpid(), "has", err, os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_PID")+os.Getenv("SEGUE_LISTEN_PARENT"))
	return 0
}

// TestInit: a program that is process 1 of a container with Config.Init, and gets sockets from the container's manager, has them below
// its process 1.
func TestInit(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("missing: root, to make namespaces")
		}
		t.Skip("missing: root, to make namespaces")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", ln.Addr().String())
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), envRole+"=init", "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=web", "GOCOVERDIR="+os.TempDir())
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "has <nil> \n") || strings.Contains(string(out), "process 1 ") {
		t.Errorf("%v: %s", err, out)
	}
}
