package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"strings"
	"time"
)

// running is what run is asked to do.
type running struct {
	listen                                  []listenArg
	rendezvous, readyFile                   string
	stay                                    bool
	ready                                   readyArg
	readyTimeout, drainTimeout, stopTimeout time.Duration
	drainSignal                             signalNumber
	restarts                                int
	argv                                    []string
}

func runCommand() command {
	r := running{
		ready: readyArg{delay: time.Second}, readyTimeout: time.Minute, drainTimeout: time.Minute, stopTimeout: 90 * time.Second,
		restarts: 10,
	}
	return command{
		name: "run", args: "[--listen ADDRESS ...] [FLAGS] -- COMMAND [ARGUMENTS]",
		summary: "keep a program running, and replace it without losing its sockets", becomes: true,
		help: `
Runs COMMAND, and is fit to be process 1 of a container: its number stays, it passes signals on, reaps orphans, and ends
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
		setup: func(e env, flags *flag.FlagSet) func(context.Context, []string) error {
			r := r
			flags.Func("listen", "bind this `address`, [NAME=][NETWORK/]ADDRESS, for COMMAND; can be repeated", func(s string) error {
				l, err := parseListen(s)
				r.listen = append(r.listen, l)
				return err
			})
			flags.Func("ready", "how a new process shows that it is `ready` (default 1s)", func(s string) (err error) {
				r.ready, err = parseReady(s)
				return err
			})
			flags.Var((*timeValue)(&r.readyTimeout), "ready-timeout", "end a new process that is not ready after this `time`")
			flags.Func("drain-signal", "tell the old process to drain by the signal of this `name` (default TERM)", func(s string) (err error) {
				r.drainSignal, err = parseSignal(s)
				return err
			})
			flags.Var((*timeValue)(&r.drainTimeout), "drain-timeout", "kill the old process after this `time`, if it does not hand over itself")
			flags.Var((*timeValue)(&r.stopTimeout), "stop-timeout", "after SIGTERM, kill what is left after this `time`")
			flags.IntVar(&r.restarts, "restarts", r.restarts, "give up after this `number` of failures in a row")
			flags.StringVar(&r.rendezvous, "rendezvous", "", "the `path` of SEGUE_RENDEZVOUS, to share it with others; one of its own by default")
			flags.BoolVar(&r.stay, "stay", false, "when COMMAND has ended with status 0, stay until SIGTERM")
			flags.StringVar(&r.readyFile, "ready-file", "", "have the file `path` there while COMMAND serves, and only then")
			return func(_ context.Context, args []string) error {
				if len(args) == 0 {
					return usagef("what is to be run? Give its command line after --")
				}
				if r.restarts < 0 {
					return usagef("--restarts cannot be negative")
				}
				if r.rendezvous != "" && len(r.listen) == 0 && !given(flags, "ready") {
					r.ready = readyArg{joined: true}
				}
				if r.ready.needsListen() {
					address, err := probeAddress(r.listen)
					if err != nil {
						return err
					}
					r.ready.address = address
				}
				r.argv = args
				return e.supervise(r)
			}
		},
	}
}

// readyArg is an argument of --ready.
type readyArg struct {
	joined, notify, probe bool
	address, path         string
	delay                 time.Duration
}

func (r readyArg) needsListen() bool { return r.probe && r.address == "" }

func parseReady(s string) (r readyArg, err error) {
	kind, rest, colon := strings.Cut(s, ":")
	switch {
	case s == "notify":
		return readyArg{notify: true}, nil
	case s == "joined":
		return readyArg{joined: true}, nil
	case kind == "tcp":
		r.probe, r.address = true, strings.TrimPrefix(rest, "//")
		if colon && r.address == "" {
			return r, errors.New("there is no address after tcp:; say for example tcp:127.0.0.1:8080, or tcp")
		}
	case kind == "http":
		r.probe = true
		if after, host := strings.CutPrefix(rest, "//"); host {
			r.address, r.path, _ = strings.Cut(after, "/")
			if r.path = "/" + r.path; r.address == "" {
				return r, errors.New("there is no address in it; say for example http://127.0.0.1:8080/healthz, or http:/healthz")
			}
		} else if r.path = rest; !strings.HasPrefix(rest, "/") {
			return r, errors.New("there is no path in it; say for example http:/healthz, or http://127.0.0.1:8080/healthz")
		}
	default:
		err = (*timeValue)(&r.delay).Set(s)
		if err != nil {
			err = errors.New("that is neither joined, notify, tcp, http:/PATH nor a time such as 2s")
		}
		return r, err
	}
	if strings.ContainsAny(r.path, " \r\n") {
		return r, errors.New("a path has no spaces")
	}
	if r.address != "" {
		if _, err = portOf("tcp", r.address); err == nil {
			r.address = reachable(r.address)
		}
	}
	return r, err
}

// probeAddress returns where the first TCP socket of --listen is reached.
func probeAddress(listen []listenArg) (string, error) {
	for _, l := range listen {
		if strings.HasPrefix(l.network, "tcp") {
			if _, port, err := net.SplitHostPort(l.address); err == nil && port == "0" {
				return "", usagef("port 0 is another one each time; say with --ready where to probe")
			}
			return reachable(l.address), nil
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
