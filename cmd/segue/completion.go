package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

func completionCommand() command {
	return command{
		name: "completion", args: "bash|zsh|fish", summary: "print a script that completes command lines in a shell",
		words: []string{"bash", "zsh", "fish"},
		help: `
To use it at once:  source <(segue completion bash)        in bash
                    source <(segue completion zsh)         in zsh, after compinit
                    segue completion fish | source         in fish
To keep it:         segue completion bash > ~/.local/share/bash-completion/completions/segue
                    segue completion zsh > "${fpath[1]}/_segue"
                    segue completion fish > ~/.config/fish/completions/segue.fish`,
		setup: func(e env, _ *flag.FlagSet) func(context.Context, []string) error {
			return func(_ context.Context, args []string) error {
				if len(args) != 1 {
					return usagef("completion wants the name of one shell: bash, zsh or fish")
				}
				switch args[0] {
				case "bash":
					e.bash(e.stdout)
				case "zsh":
					fmt.Fprintln(e.stdout, "#compdef segue\nautoload -U +X bashcompinit && bashcompinit")
					e.bash(e.stdout)
					// What zsh loads by itself is the body of _segue, called for the first Tab already.
					fmt.Fprintln(e.stdout, `if [ "${funcstack[1]}" = _segue ]; then _bash_complete -F _segue_complete; fi`)
				case "fish":
					e.fish(e.stdout)
				default:
					return usagef("there is no completion for %q; there is for bash, zsh and fish", args[0])
				}
				return nil
			}
		},
	}
}

// completions returns what can follow a command.
func (e env) completions(c command) []string {
	words := append([]string(nil), c.words...)
	fs := c.flags()
	c.setup(e, fs)
	fs.VisitAll(func(f *flag.Flag) { words = append(words, "--"+f.Name) })
	return words
}

func visible() []command {
	var all []command
	for _, c := range commands() {
		if c.part == "" {
			all = append(all, c)
		}
	}
	return all
}

// bash prints a function that zsh understands as well, by bashcompinit.
func (e env) bash(w io.Writer) {
	var names []string
	for _, c := range visible() {
		names = append(names, c.name)
	}
	fmt.Fprintf(w, `_segue_complete() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} list="" i
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W "%s" -- "$cur"))
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [ "${COMP_WORDS[i]}" = -- ]; then
			if [ "$i" -eq $((COMP_CWORD - 1)) ]; then
				COMPREPLY=($(compgen -c -- "$cur"))
			else
				COMPREPLY=($(compgen -f -- "$cur"))
			fi
			return
		fi
	done
	case $prev in
	--pid) list=$(cd /proc 2>/dev/null && echo [0-9]*) ;;
	--signal) list="TERM QUIT INT HUP USR1 USR2 WINCH KILL" ;;
	*)
		case ${COMP_WORDS[1]} in
`, strings.Join(names, " "))
	for _, c := range visible() {
		words := e.completions(c)
		if c.name == "help" {
			words = names
		}
		if len(words) > 0 {
			fmt.Fprintf(w, "\t\t%s) list=%q ;;\n", c.name, strings.Join(words, " "))
		}
	}
	var files []string
	for _, c := range visible() {
		if c.file {
			files = append(files, c.name)
		}
	}
	fmt.Fprintf(w, `		esac
		;;
	esac
	COMPREPLY=($(compgen -W "$list" -- "$cur"))
	case ${COMP_WORDS[1]} in
	%s) case $cur in -*) ;; *) COMPREPLY+=($(compgen -f -- "$cur")) ;; esac ;;
	esac
}
complete -F _segue_complete segue
`, strings.Join(files, "|"))
}

// fish prints rules, each with the command that it is for; none holds after --, where COMMAND begins.
func (e env) fish(w io.Writer) {
	fmt.Fprint(w, `function __segue_first
	test (count (commandline -opc)) -eq 1
end

# In the arguments of the command $argv, before a --.
function __segue_in
	set -l line (commandline -opc)
	not contains -- -- $line; and set -q line[2]; and test $line[2] = $argv
end

# After a --: COMMAND and its arguments.
function __segue_in_command
	contains -- -- (commandline -opc)
end

# Completes these as if they were the whole line.
function __segue_command
	set -l line (commandline -opc)
	set -e line[1..(contains -i -- -- $line)]
	complete -C (string join -- ' ' (string escape -- $line) (commandline -ct))
end

complete -c segue -f
complete -c segue -n __segue_in_command -a '(__segue_command)'
`)
	var names []string
	for _, c := range visible() {
		names = append(names, c.name)
	}
	for _, c := range visible() {
		fmt.Fprintf(w, "complete -c segue -n __segue_first -a %s -d %s\n", c.name, fishQuote(c.summary))
		words := c.words
		if c.name == "help" {
			words = names
		}
		for _, word := range words {
			fmt.Fprintf(w, "complete -c segue -n '__segue_in %s' -a %s\n", c.name, word)
		}
		if c.file {
			fmt.Fprintf(w, "complete -c segue -n '__segue_in %s' -F\n", c.name)
		}
		fs := c.flags()
		c.setup(e, fs)
		fs.VisitAll(func(f *flag.Flag) {
			value, text := flag.UnquoteUsage(f)
			requires := ""
			switch {
			case f.Name == "pid":
				requires = " -x -a '(__fish_complete_pids)'"
			case f.Name == "signal":
				requires = " -x -a 'TERM QUIT INT HUP USR1 USR2 WINCH KILL'"
			case value != "":
				requires = " -x"
			}
			fmt.Fprintf(w, "complete -c segue -n '__segue_in %s' -l %s%s -d %s\n", c.name, f.Name, requires, fishQuote(text))
		})
	}
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
