package main

import (
	"bufio"
	"context"
	_ "embed" // the C program
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed testdata/floor.c
var floorSource string

// compile compiles the C program into dir.
func compile(ctx context.Context, dir string) (string, error) {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		return "", fmt.Errorf("missing: a C compiler, for the floor; for example: apt-get install gcc libc6-dev; or set CC: %w", err)
	}
	out := filepath.Join(dir, "floor")
	cmd := exec.CommandContext(ctx, cc, "-O2", "-pthread", "-x", "c", "-o", out, "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(floorSource), os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w", cc, err)
	}
	return out, nil
}

// floor is the C program, running.
type floor struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startFloor(ctx context.Context, program string, args ...string) (*floor, error) {
	f := &floor{cmd: exec.CommandContext(ctx, program, args...)}
	f.cmd.Stderr = os.Stderr
	var err error
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.out = bufio.NewReader(out)
	return f, f.cmd.Start()
}

// round lets it measure once.
func (f *floor) round() (time.Duration, error) {
	if _, err := io.WriteString(f.in, "go\n"); err != nil {
		return 0, err
	}
	line, err := f.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the C program: %w", err)
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return time.Duration(ns), err
}

func (f *floor) close() error {
	_ = f.in.Close() // it ends by that
	return f.cmd.Wait()
}
