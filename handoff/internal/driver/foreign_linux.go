package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff/internal/link"
	"github.com/segue-go/segue/handoff/internal/peer"
	"github.com/segue-go/segue/handoff/internal/sys"
	"github.com/segue-go/segue/handoff/timeline"
	"github.com/segue-go/segue/listener"
)

// The successor of this generation is another one of this process, a proxy, to which it hands over by the protocol, as to any
// other. The proxy asks for everything and opens nothing; when it owns, and the other process serves, it ends. So the promises
// of a handover hold here too, without a rule of their own: nobody else takes over meanwhile, an older generation is
// released, what only one process may have is let go of, and no accept is in flight any more.

func (d *Driver) startForeign(ctx context.Context, start Start) error {
	if !d.Phase().Owns() {
		return ErrNotOwner
	}
	if os.Getpid() == 1 {
		return errInit
	}
	a := newAttempt(d, kindProxy, nil)
	if err := d.beginAttempt(ctx, a); err != nil {
		return err
	}
	a.rec = d.begin(newID(), timeline.Incumbent, timeline.CauseForeign, time.Now())
	proxy, theirs, err := d.proxy(a)
	if err != nil {
		a.conclude(err)
		d.endAttempt(a)
		return err
	}
	d.tasks.Add(1) // beginAttempt has added one, so Close still waits
	defer d.tasks.Done()
	superseded, over := make(chan struct{}), make(chan struct{})
	go func() { // a task since beginAttempt
		defer d.tasks.Done()
		defer close(over)
		err = a.handOver(ctx, func() { close(superseded) })
		a.conclude(err)
		d.closeAttempt(a)
	}()
	proxyErr := proxy.standIn(ctx, a, theirs, start)
	if proxyErr != nil {
		proxy.mu.Lock()
		proxy.refused = proxyErr
		proxy.mu.Unlock()
		d.writePIDFiles() // the other process may have written its own there
	}
	proxy.Close() // it says what is left to say
	select {
	case <-superseded:
		d.log.Info("handed over to a process that does not know segue; this one drains and ends")
		return nil
	case <-over:
		if proxyErr == nil {
			proxyErr = err
		}
		return proxyErr
	}
}

// proxy makes a generation of this process that takes over by the other end of a's link.
func (d *Driver) proxy(a *attempt) (proxy *Driver, theirs *net.UnixConn, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, err := sys.UnixConn(listener.NewFD(pair[0]))
	theirs, err2 := sys.UnixConn(listener.NewFD(pair[1]))
	if err = errors.Join(err, err2); err == nil {
		_, err = peer.PassCred(ours)
	}
	if err == nil {
		err = d.beginOffering()
	}
	if err != nil {
		for _, c := range []*net.UnixConn{ours, theirs} {
			if c != nil {
				_ = c.Close()
			}
		}
		return nil, nil, err
	}
	c := d.cfg
	c.Signals, c.Command, c.Environ, c.Rescue, c.Probation, c.Check = nil, nil, nil, nil, 0, nil
	c.PIDFile, c.Supervisor = "", ""
	c.Trace, c.Opened, c.Closed, c.Keeps, c.Phase, c.Settled, c.Released, c.Failed = nil, nil, nil, nil, nil, nil, nil, nil
	proxy = New(c)
	proxy.proxies, proxy.origin = true, d.origin
	l := link.New(ours, d.linkOptions("proxy", true))
	d.mu.Lock()
	a.link = l
	d.mu.Unlock()
	return proxy, theirs, nil
}

// standIn takes over from the incumbent of a by conn, when start has returned nil.
func (d *Driver) standIn(ctx context.Context, a *attempt, conn *net.UnixConn, start Start) error {
	i := a.d
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(i.closeBegun, func() { cancel(context.Cause(i.closeBegun)) })()
	if err := d.succeed(ctx, conn, timeline.CauseForeign); err != nil {
		return err
	}
	bounded, stop := context.WithTimeoutCause(ctx, i.cfg.ReadyTimeout, fmt.Errorf("the other process was not ready within %v: %w", i.cfg.ReadyTimeout, os.ErrDeadlineExceeded))
	defer stop()
	cmd := i.command()
	if cmd == nil {
		return errors.New("Config.Command returned no command")
	}
	if err := start(bounded, cmd, d.Sockets.ClaimAll()); err != nil {
		return err
	}
	if cmd.Process != nil {
		i.mu.Lock()
		a.other = Peer{PID: cmd.Process.Pid, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
		i.mu.Unlock()
	}
	return d.Ready(ctx)
}
