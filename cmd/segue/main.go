// Command segue upgrades running servers, looks at them, and moves their sockets to other programs.
//
//	segue upgrade PATH                                                replace the process that serves, and wait for the result
//	segue status [--json] [--watch] PATH                              which generations there are, and what each is doing
//	segue history [--json] [-n N] PATH [ID]                           the last handoffs, and what became of each
//	segue retire PATH [GENERATION]                                    end older generations that still drain
//	segue stop PATH                                                   stop the process that serves, and wait for its end
//	segue doctor [PATH]                                               what would make an upgrade fail, before there is one
//	segue sockets [--pid P] [--json]                                  what processes listen on
//	segue run [--listen :80] -- COMMAND ...                           keep COMMAND running, and replace it at SIGHUP
//	segue adopt --pid P --listen :80 [--signal QUIT] -- COMMAND ...   start COMMAND with the sockets of P
//	segue version, segue completion bash|zsh|fish, segue help [COMMAND]
//
// Names of things only read; names of deeds change something. What went wrong is said on standard error, with what to do
// about it. The exit status is 0 if all went well, 1 if something failed, 2 if the command line is wrong, 128 and
// the number of the signal if one has ended it (143 for SIGTERM); of
// upgrade, status, history, retire, stop and doctor, more are in their help; of adopt and run, it is that of COMMAND, 127 if there is no COMMAND, and 126 if it cannot be executed.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func main() {
	signals := catchForRun(os.Args[1:]) // first
	e := newEnv()
	e.signals = signals
	os.Exit(e.run(os.Args[1:]))
}

// tree returns the command line: one function makes each command, in the file of its name.
func (e env) tree() *cobra.Command {
	root := &cobra.Command{
		Use:   "segue",
		Short: "upgrade running servers, look at them, and move their sockets to other programs",
		Long: `segue upgrades running servers, looks at them, and moves their sockets to other programs.

The exit status is 0 if all went well, 1 if something failed, 2 if the command line is wrong, 128 and the
number of the signal if one has ended it; some commands have more.`,
		Version: version(), SilenceErrors: true, SilenceUsage: true,
	}
	root.SetOut(e.stdout) // which the library's completion command takes when it is made
	root.SetErr(e.stderr)
	root.AddCommand(e.upgradeCommand(), e.statusCommand(), e.historyCommand(), e.retireCommand(), e.stopCommand(), e.doctorCommand(), e.socketsCommand(), e.adoptCommand(), e.runCommand(), e.versionCommand())
	root.AddCommand(e.parts()...)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "explain a command"
			c.Args = func(_ *cobra.Command, args []string) error { // the library's prints all help then
				c, rest, err := root.Find(args)
				if part := c.Annotations[partOf]; err == nil && part != "" {
					return fmt.Errorf("%s is only for the program itself; use %s", c.Name(), part)
				}
				if err == nil && len(rest) > 0 {
					err = fmt.Errorf("there is no command %q", strings.Join(args, " "))
				}
				return err
			}
		case "completion":
			c.Short = "print a script that completes command lines in a shell"
			c.RunE = func(*cobra.Command, []string) error {
				return usagef("for which shell? There are bash, zsh, fish and powershell")
			}
		}
	}
	return root
}

func (e env) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version of this program", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(e.stdout, "segue version", version())
			return err
		},
	}
}

// version says what the linker knows.
func version() string {
	v, revision := "unknown", ""
	if i, ok := debug.ReadBuildInfo(); ok {
		if i.Main.Version != "" {
			v = i.Main.Version
		}
		for _, s := range i.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = " " + s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				revision += " (modified)"
			}
		}
	}
	return fmt.Sprintf("%s%s %s %s/%s", v, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
