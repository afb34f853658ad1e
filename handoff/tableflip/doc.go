// Package tableflip takes a server from github.com/cloudflare/tableflip (v1.2.3) to segue, and back if need be, while it serves.
//
// A program that runs on tableflip is replaced by one that runs on segue as by any other version: its file is replaced, and it gets
// the signal on which it calls Upgrade. The new program takes what tableflip hands over by [Inherit], whose
// result has a [handoff.Source]:
//
//	parent, err := tableflip.Inherit(ctx, tableflip.Options{Logger: log})
//	...
//	gen, err := handoff.Join(ctx, handoff.Config{
//		Path:    "/run/app/segue.sock",
//		PIDFile: "/run/app/pid", // the one that tableflip wrote
//		Signals: []os.Signal{syscall.SIGHUP},
//		Sources: []handoff.Source{parent.Source()},
//	})
//	...
//	ln, err := gen.Listen(ctx, "tcp", ":8080") // in the words in which the old program asked for it
//	...
//	err = serve.Run(ctx, gen, serve.HTTP(srv, ln))
//
// When this generation owns its sockets, the old process is told, as tableflip's Ready would tell it, and drains. From then on
// upgrades are segue's. Where the program was not started by tableflip, and in all later generations, a [Parent] has nothing and does nothing:
// the lines can stay as long as there are tableflip processes anywhere.
//
// The way back is [Rollback]: it starts the program's file, which is the old one again by then, as tableflip would, and lets go when it is
// ready. A program calls it on a signal of its own choice:
//
//	err := tableflip.Rollback(ctx, gen, tableflip.RollbackOptions{})
//
// # What holds, and what does not
//
// Both processes have the same sockets, so nothing that waits in a queue is lost. Between the moment at which the new process begins
// to accept and that at which the old one has been told to stop, both accept, as with tableflip. Beyond that it promises less than a
// handover between two generations of segue does, since tableflip's protocol has no more to say:
//
//   - Nothing is taken back from a process that has been ready. Guard, Probation and Check begin with the next upgrade.
//   - Live connections and state do not move. They end in the process that has them, each in its own way.
//   - A key of tableflip is a kind, a network and an address, once: of several sockets with one address it knows one. [Rollback]
//     refuses to go on with a socket that it could not hand over.
//
// The package speaks tableflip's protocol and does not link it.
package tableflip

import "log/slog"

// sentinel is the variable by which tableflip tells a process that it has a parent (v1.2.3, parent.go).
const sentinel = "TABLEFLIP_HAS_PARENT_7DIU3"

// ready is what a process writes when it is (parent.go).
const ready = 42

// A process that Rollback has started finds in rolledBack the inode number of its namesPipe. If it runs on segue, it says so by
// writing onSegue instead of ready: the two would hand over to each other and never get anywhere.
const (
	rolledBack = "SEGUE_TABLEFLIP_ROLLBACK"
	onSegue    = 43
)

// The numbers of the descriptors that a process is started with (parent.go): two pipes, and from firstFile on what is handed over.
const (
	readyPipe = 3 // to tell the parent that this process is ready
	namesPipe = 4 // brings the names of the files; ends with the parent
	firstFile = 5
)

// Options are those of [Inherit]. The zero value is ready for use.
type Options struct {
	// Logger receives what an operator wants to know. Nil: silent.
	Logger *slog.Logger
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
