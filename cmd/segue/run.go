package main

import (
	"errors"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-go/segue/cmd/segue/internal/supervise"
)

func (e env) runCommand() *cobra.Command {
	o := supervise.Options{
		Ready: supervise.Ready{Delay: time.Second}, ReadyTimeout: time.Minute, DrainTimeout: time.Minute, StopTimeout: 90 * time.Second,
		Restarts: 10,
	}
	c := &cobra.Command{
		Use:   "run [--listen ADDRESS ...] [FLAGS] -- COMMAND [ARGUMENTS]",
		Short: "keep a program running, and replace it without losing its sockets", DisableFlagsInUseLine: true,
		Annotations: map[string]string{becomes: "COMMAND"}, ValidArgsFunction: completeCommand,
		Long: `Runs COMMAND, and is fit to be process 1 of a container: its number stays, it passes signals on, reaps orphans, and ends
with the exit status of COMMAND (128 and the number of the signal that ended it; 127 if there is no COMMAND, 126 if it
cannot be executed). COMMAND is looked up anew for each start, so replace the program first.

    SIGHUP                    starts the next process of COMMAND; when that is ready, the old one drains. If it does not
                              become ready it is ended, and the old one stays
    SIGTERM, SIGINT, SIGQUIT  are passed on to all processes of COMMAND, and nothing is started any more; what has not
                              ended after --stop-timeout is killed
    others                    are passed on to the process that serves

A program that uses segue and has no Config.Path (or that of --rendezvous) finds the rendezvous in its environment,
SEGUE_RENDEZVOUS, and hands over by itself, with all that segue hands over.

Any other program gets the sockets of --listen, which this process binds and keeps: from descriptor 3 on, with LISTEN_FDS,
LISTEN_FDNAMES and LISTEN_PID (sd_listen_fds(3)). So no client is refused between two processes, nor after a crash.
--ready says how to find out that a new process can serve; then the old one gets --drain-signal, and should answer what it
has accepted and end. Without --listen, and with a program that does not hand over, SIGHUP is refused.

READY is a time, for which the process has to live; or notify, if it says READY=1 (sd_notify(3)), which also ends a time
early; or tcp or tcp:HOST:PORT, if it accepts connections there; or http:/PATH or http://HOST:PORT/PATH, if it answers a
GET there with a status below 400. Without HOST:PORT it is the first --listen. For tcp and http it is looked whether the
new process has the connection, and not the old one, which listens at the same address. Or it is joined, if COMMAND has to
confirm at the rendezvous; that is the default with --rendezvous and without --listen, and the rule for a process that is
to take over from one that has.

With one --rendezvous, in two containers that share a directory, the second COMMAND takes over from the first, which ends
with status 0. Give both --stay, or the first container is started again, and takes over in its turn.

If COMMAND crashes it is started again, with the same sockets, after 100ms, and twice that for each further failure in a
row, up to 10s. If it ends before it has ever been ready, with status 0, or more than --restarts times in a row, it is not.`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("what is to be run? Give its command line after --")
			}
			if o.Restarts < 0 {
				return usagef("--restarts cannot be negative")
			}
			if o.Rendezvous != "" && len(o.Listen) == 0 && !c.Flags().Changed("ready") {
				o.Ready = supervise.Ready{Joined: true}
			}
			if o.Ready.Probe && o.Ready.Address == "" {
				address, err := probeAddress(o.Listen)
				if err != nil {
					return err
				}
				o.Ready.Address = address
			}
			o.Argv = args
			return e.supervise(o)
		},
	}
	flags := c.Flags()
	flags.SetInterspersed(false)
	flags.Func("listen", "bind this `address`, [NAME=][NETWORK/]ADDRESS, for COMMAND; can be repeated", func(s string) error {
		l, err := parseListen(s)
		o.Listen = append(o.Listen, supervise.Socket{Name: l.name, Network: l.network, Address: l.address})
		return err
	})
	flags.Func("ready", "how a new process shows that it is `ready` (default 1s)", func(s string) (err error) {
		o.Ready, err = parseReady(s)
		return err
	})
	flags.Var((*timeValue)(&o.ReadyTimeout), "ready-timeout", "end a new process that is not ready after this `time`")
	flags.Func("drain-signal", "tell the old process to drain by the signal of this `name` (default TERM)", func(s string) (err error) {
		o.DrainSignal, err = parseSignal(s)
		return err
	})
	flags.Var((*timeValue)(&o.DrainTimeout), "drain-timeout", "kill the old process after this `time`, if it does not hand over itself")
	flags.Var((*timeValue)(&o.StopTimeout), "stop-timeout", "after SIGTERM, kill what is left after this `time`")
	flags.IntVar(&o.Restarts, "restarts", o.Restarts, "give up after more than this `number` of failures in a row")
	flags.StringVar(&o.Rendezvous, "rendezvous", "", "the `path` of SEGUE_RENDEZVOUS, to share it with others; one of its own by default")
	flags.BoolVar(&o.Stay, "stay", false, "when COMMAND has ended with status 0, stay until SIGTERM")
	flags.StringVar(&o.ReadyFile, "ready-file", "", "have the file `path` there while COMMAND serves, and only then")
	completeFlag(c, "drain-signal", completeSignals)
	return c
}

// parseReady reads an argument of --ready. A probe without an address is of the first --listen.
func parseReady(s string) (r supervise.Ready, err error) {
	kind, rest, colon := strings.Cut(s, ":")
	switch {
	case s == "notify":
		return supervise.Ready{Notify: true}, nil
	case s == "joined":
		return supervise.Ready{Joined: true}, nil
	case kind == "tcp":
		r.Probe, r.Address = true, strings.TrimPrefix(rest, "//")
		if colon && r.Address == "" {
			return r, errors.New("there is no address after tcp:; say for example tcp:127.0.0.1:8080, or tcp")
		}
	case kind == "http":
		r.Probe = true
		if after, host := strings.CutPrefix(rest, "//"); host {
			r.Address, r.Path, _ = strings.Cut(after, "/")
			if r.Path = "/" + r.Path; r.Address == "" {
				return r, errors.New("there is no address in it; say for example http://127.0.0.1:8080/healthz, or http:/healthz")
			}
		} else if r.Path = rest; !strings.HasPrefix(rest, "/") {
			return r, errors.New("there is no path in it; say for example http:/healthz, or http://127.0.0.1:8080/healthz")
		}
	default:
		err = (*timeValue)(&r.Delay).Set(s)
		if err != nil {
			err = errors.New("that is neither joined, notify, tcp, http:/PATH nor a time such as 2s")
		}
		return r, err
	}
	if strings.ContainsAny(r.Path, " \r\n") {
		return r, errors.New("a path has no spaces")
	}
	if r.Address != "" {
		if _, err = portOf("tcp", r.Address); err == nil {
			r.Address = reachable(r.Address)
		}
	}
	return r, err
}

// probeAddress returns where the first TCP socket of --listen is reached.
func probeAddress(listen []supervise.Socket) (string, error) {
	for _, l := range listen {
		if strings.HasPrefix(l.Network, "tcp") {
			if _, port, err := net.SplitHostPort(l.Address); err == nil && port == "0" {
				return "", usagef("port 0 is another one each time; say with --ready where to probe")
			}
			return reachable(l.Address), nil
		}
	}
	return "", usagef("--ready tcp and http need the address of a TCP socket: by --listen, or as tcp:HOST:PORT or http://HOST:PORT/PATH")
}

// reachable replaces the address that stands for all.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	switch ip := net.ParseIP(host); {
	case host == "" || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
