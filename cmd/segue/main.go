// Command segue upgrades running servers, looks at them, and moves their sockets to other programs.
//
//	segue upgrade PATH                                                replace the process that serves, and wait for the result
//	segue status [--json] PATH                                        show what the process that serves is doing
//	segue stop PATH                                                   stop the process that serves, and wait for its end
//	segue sockets [--pid P] [--json]                                  what processes listen on
//	segue run [--listen :80] -- COMMAND ...                           keep COMMAND running, and replace it at SIGHUP
//	segue adopt --pid P --listen :80 [--signal QUIT] -- COMMAND ...   start COMMAND with the sockets of P
//	segue version, segue completion bash|zsh|fish, segue help [COMMAND]
//
// Names of things only read; names of deeds change something. What went wrong is said on standard error, with what to do
// about it. The exit status is 0 if all went well, 1 if something failed, 2 if the command line is wrong; of
// upgrade, status and stop, more are in their help; of adopt and run, it is that of COMMAND, 127 if there is no COMMAND, and 126 if it cannot be executed.
package main

import "os"

func main() {
	e := newEnv()
	os.Exit(e.run(os.Args[1:]))
}
