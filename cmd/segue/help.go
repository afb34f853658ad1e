package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
)

func helpCommand() command {
	return command{
		name: "help", args: "[COMMAND]", summary: "explain a command",
		setup: func(e env, _ *flag.FlagSet) func(context.Context, []string) error {
			return func(_ context.Context, args []string) error {
				if len(args) == 0 {
					e.overview(e.stdout)
					return nil
				}
				if len(args) > 1 {
					return usagef("help explains one command at a time")
				}
				c, err := find(args[0])
				if err == nil && c.part != "" {
					err = usagef("%s is only for the program itself; use %s", c.name, c.part)
				}
				if err != nil {
					return err
				}
				fs := c.flags()
				c.setup(e, fs)
				c.usage(e.stdout, fs)
				return nil
			}
		},
	}
}

// overview is the help for the program.
func (e env) overview(w io.Writer) {
	fmt.Fprint(w, "segue upgrades running servers, looks at them, and moves their sockets to other programs.\n\nUsage:\n\n  segue COMMAND [FLAGS] [ARGUMENTS]\n\nCommands:\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range commands() {
		if c.part == "" {
			fmt.Fprintf(t, "  %s\t%s\n", c.name, c.summary)
		}
	}
	_ = t.Flush() // the writer's errors are those of standard output
	fmt.Fprint(w, "\n'segue help COMMAND' says more. The exit status is 0 if all went well, 1 if something failed, 2 if the command line is wrong.\n")
}

// usage is the help for a command.
func (c command) usage(w io.Writer, fs *flag.FlagSet) {
	flags := false
	fs.VisitAll(func(*flag.Flag) { flags = true })
	line := "segue " + c.name
	if c.args != "" {
		line += " " + c.args
	}
	fmt.Fprintf(w, "Usage: %s\n\nTo %s.\n", line, c.summary)
	if c.help != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.help))
	}
	if !flags {
		return
	}
	fmt.Fprint(w, "\nFlags:\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fs.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		if value != "" {
			value = " " + strings.ToUpper(value)
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			text += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		fmt.Fprintf(t, "  --%s%s\t%s\n", f.Name, value, text)
	})
	_ = t.Flush()
}

func versionCommand() command {
	return command{
		name: "version", summary: "print the version of this program",
		setup: func(e env, _ *flag.FlagSet) func(context.Context, []string) error {
			return func(_ context.Context, args []string) error {
				if len(args) > 0 {
					return usagef("version takes no arguments")
				}
				fmt.Fprintln(e.stdout, version())
				return nil
			}
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
	return fmt.Sprintf("segue %s%s %s %s/%s", v, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
