package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// envRole makes this program one of the processes that are measured; see play.
const envRole = "SEGUE_BENCH_ROLE"

// patience bounds each single step: an answer, an end, a connection.
const patience = 10 * time.Second

// reply is what a process answers to a command, and says unasked when it is ready.
type reply struct {
	PID    int
	Addrs  map[string]string  `json:",omitempty"`
	Stamps map[string]int64   `json:",omitempty"`
	Times  map[string][]int64 `json:",omitempty"`
	Count  uint64             `json:",omitempty"`
}

// process is one that plays a role. It ends when its standard input does, so also with us.
type process struct {
	pid int
	cmd *exec.Cmd
	own bool     // started by us, and not by Upgrade
	in  *os.File // its commands, a line each
	out *os.File // its replies, its descriptor 3
	dec *json.Decoder

	theirs []*os.File // ends of in and out, until the process has been started
}

// newProcess prepares one. Whoever starts p.cmd calls p.started after that.
func newProcess(role string, args ...string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	inR, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, outW, err := os.Pipe()
	if err != nil {
		_ = inR.Close()
		_ = in.Close()
		return nil, err
	}
	p := &process{cmd: exec.Command(exe, args...), in: in, out: out, dec: json.NewDecoder(out), theirs: []*os.File{inR, outW}}
	p.cmd.Env = append(os.Environ(), envRole+"="+role)
	p.cmd.Stdin, p.cmd.Stderr = inR, os.Stderr
	p.cmd.ExtraFiles = []*os.File{outW}
	return p, nil
}

// started closes the ends that are the process's.
func (p *process) started() {
	for _, f := range p.theirs {
		_ = f.Close()
	}
	p.theirs = nil
}

// start starts a process and waits for its first reply.
func start(ctx context.Context, role string, args ...string) (*process, reply, error) {
	return startWith(ctx, nil, role, args...)
}

// startWith also gives it a file, as descriptor 4, which it borrows.
func startWith(ctx context.Context, file *os.File, role string, args ...string) (*process, reply, error) {
	p, err := newProcess(role, args...)
	if err != nil {
		return nil, reply{}, err
	}
	if file != nil {
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, file)
	}
	err = p.cmd.Start()
	p.started()
	if err != nil {
		_ = p.in.Close()
		_ = p.out.Close()
		return nil, reply{}, err
	}
	p.own = true
	r, err := p.hear(ctx)
	if err != nil {
		p.end()
		return nil, reply{}, fmt.Errorf("start %s: %w", role, err)
	}
	return p, r, nil
}

// hear waits for a reply.
func (p *process) hear(ctx context.Context) (reply, error) {
	var r reply
	deadline := time.Now().Add(patience)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := p.out.SetReadDeadline(deadline); err != nil {
		return r, err
	}
	defer context.AfterFunc(ctx, func() { _ = p.out.SetReadDeadline(time.Unix(1, 0)) })()
	if err := p.dec.Decode(&r); err != nil {
		return r, fmt.Errorf("a process of this benchmark does not answer: %w", err)
	}
	p.pid = r.PID
	return r, nil
}

// ask sends a command and waits for the reply.
func (p *process) ask(ctx context.Context, command string) (reply, error) {
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		return reply{}, err
	}
	return p.hear(ctx)
}

// end ends the process and waits until it has. It is a child of ours, whoever called exec.
func (p *process) end() {
	_ = p.in.Close()
	_ = p.out.Close()
	p.started()
	if p.own {
		t := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		defer t.Stop()
		_ = p.cmd.Wait()
		return
	}
	if p.pid == 0 {
		return // Upgrade failed, and has reaped it
	}
	for since := time.Now(); ; time.Sleep(time.Millisecond) {
		n, err := unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
		if n == p.pid || (err != nil && err != unix.EINTR) {
			return
		}
		if time.Since(since) > patience {
			_ = unix.Kill(p.pid, unix.SIGKILL) // a child that nobody has reaped: the number is still its own
		}
	}
}

// control is the other side: what a role hears and says.
type control struct {
	commands <-chan string // closed at the end
	out      *os.File
}

// newControl reads commands until standard input ends, and then ends ctx.
func newControl(cancel context.CancelFunc) *control {
	commands := make(chan string)
	go func() {
		defer cancel()
		defer close(commands)
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			commands <- s.Text()
		}
	}()
	out := os.NewFile(3, "replies")
	unix.CloseOnExec(3)
	return &control{commands: commands, out: out}
}

func (c *control) say(r reply) error {
	r.PID = os.Getpid()
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = c.out.Write(append(b, '\n'))
	return err
}

// next waits for a command; io.EOF is the end.
func (c *control) next() (string, error) {
	s, ok := <-c.commands
	if !ok {
		return "", io.EOF
	}
	return s, nil
}
