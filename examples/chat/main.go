// Command chat is a chat server over TCP whose users stay connected and logged in through upgrades, and lose no line.
//
// The protocol is lines of at most 1000 bytes, so nc is a client. The first line that a user sends is NICK and a name;
// after that, each line is said to all who are logged in, the speaker too. What the server sends is "name: what was said",
// or a notice that begins with "* ".
//
// # How the room moves
//
// All that is said goes into one log, and each user has a place in it: the number of the next line that is to be sent to
// him. In an upgrade, the log moves as a section of state, and the users one by one with their places:
//
//  1. Before the switch, [room.hold] stops everybody's input at the end of a line, and everybody's output anywhere. Nothing
//     is said any more, so the log that is saved then is the last word of this process. See [room.section].
//  2. Once the successor serves, [room.drain] gives it each connection, with the user's name, the half of a line that had
//     been read from him, the half of a line that he has yet to be sent, and his place in the log.
//  3. The successor goes on with the log at once: some users speak there when others have not arrived yet. Those miss
//     nothing, since they get the log from their place on, in [room.take].
//
// So there are never two rooms, nothing need be forwarded between processes or waited for, and every line is sent to every
// user once, in the same order for all.
//
// If the successor dies when it has taken some of the users, these are lost with it. The others go on in this process, with
// the log as it was at the switch. A successor that dies before it has confirmed takes nobody along: users move from then on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/segue-go/segue/examples/internal/fault"
	"github.com/segue-go/segue/handoff"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second one ends the process at once
	if err := run(ctx); err != nil {
		slog.Error("server ends", "pid", os.Getpid(), "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	c := handoff.Config{Signals: []os.Signal{syscall.SIGHUP}, Logger: slog.With("pid", os.Getpid())}
	listen := flag.String("listen", "127.0.0.1:8084", "listen on this `address`")
	flag.StringVar(&c.Path, "segue", "", "rendezvous `path`: who is started with the same one takes over")
	flag.DurationVar(&c.Guard, "guard", 0, "keep the sockets for this long after an upgrade; 0 is the default")
	flag.DurationVar(&c.ReadyTimeout, "ready-timeout", 0, "give a successor this long to get ready; 0 is the default")
	faultFile := flag.String("fault-file", "", "fail in the way that this `file` names; see examples/internal/fault")
	flag.Parse()
	f := fault.Inject(*faultFile, &c)

	gen, err := handoff.Join(ctx, c)
	if err != nil {
		return err
	}
	var loops sync.WaitGroup
	defer loops.Wait()
	defer gen.Close()                          // ends them
	ln, err := gen.Listen(ctx, "tcp", *listen) // inherited, or bound afresh
	if err != nil {
		return err
	}
	r := newRoom()
	if err := gen.State("log", r.section()); err != nil {
		return err
	}
	fmt.Println("listening on", ln.Addr())
	f.Strike(ctx)

	loops.Go(func() { accept(ln, r) })    // waits until Ready
	loops.Go(func() { r.take(ctx, gen) }) // in the first generation too: users come back from a successor that dies
	if err := gen.Ready(ctx); err != nil {
		return err
	}
	err = gen.Wait(ctx, func(ctx context.Context) error { return r.drain(ctx, gen) })
	if ctx.Err() == nil {
		return err // nil: a successor serves, and has our users
	}
	return nil // somebody wants us to stop
}

func accept(ln net.Listener, r *room) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return // a successor has it
		}
		if err != nil { // out of descriptors, for example
			slog.Warn("accept", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		u := &user{conn: c}
		u.notice("process %d serves you; log in with NICK and your name", os.Getpid())
		r.join(u)
	}
}
