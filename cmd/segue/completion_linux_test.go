package main

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// script returns what completes command lines in a shell.
func script(t *testing.T, shell string) string {
	t.Helper()
	var out strings.Builder
	e := env{stdout: &out, stderr: &out}
	if s := e.run([]string{"completion", shell}); s != 0 {
		t.Fatalf("status %d: %s", s, &out)
	}
	return out.String()
}

// have returns where a shell is. .ci/run installs them.
func have(t *testing.T, shell string) string {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		skip(t, shell+", to complete command lines; for example: apt-get install "+shell)
	}
	return path
}

// TestCompletionScripts wants the scripts to be what the shells can read.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		cmd := exec.Command(have(t, shell), "-n")
		cmd.Stdin = strings.NewReader(script(t, shell))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s -n: %v: %s", shell, err, out)
		}
	}
}

// completed has lines, and what each is to be completed to.
var completed = map[string]string{
	"segue soc":                            "sockets",
	"segue sockets --j":                    "--json",
	"segue adopt --signal Q":               "QUIT",
	"segue completion z":                   "zsh",
	"segue help com":                       "completion",
	"segue status --j":                     "--json",
	"segue upgrade /proc/vers":             "/proc/version",
	"segue adopt --pid 1 -- readli":        "readlink",
	"segue adopt --pid 1 -- ls /proc/vers": "/proc/version",
	"segue run --drain-signal W":           "WINCH",
	"segue run -- ls -l /proc/vers":        "/proc/version",
}

// TestCompletionFish asks fish itself.
func TestCompletionFish(t *testing.T) {
	fish, file := have(t, "fish"), filepath.Join(t.TempDir(), "segue.fish")
	if err := os.WriteFile(file, []byte(script(t, "fish")), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range completed {
		out, err := run(t, fish, "-N", "-c", "source $argv[1]; complete -C $argv[2]", "--", file, line)
		if err != nil || !strings.Contains("\n"+strings.ReplaceAll(out, "\t", "\n"), "\n"+want+"\n") {
			t.Errorf("%q completes to %q, %v; want %s", line, out, err, want)
		}
	}
}

// TestCompletionTyped types into bash and zsh, in which nothing was completed before: zsh loads the script by the first Tab.
func TestCompletionTyped(t *testing.T) {
	zsh, dir := have(t, "zsh"), t.TempDir()
	have(t, "bash")
	const bashCompletion = "/usr/share/bash-completion/bash_completion"
	for shell, begin := range map[string]string{
		"bash --norc --noprofile -i": `. ` + bashCompletion + `; . "${(q)1}/_segue"; bind "set completion-ignore-case off"; PS1=; echo rea''dy`,
		"zsh -f -i":                  `fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D; bindkey -e; PS1=; echo rea''dy`,
	} {
		name, _, _ := strings.Cut(shell, " ")
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(bashCompletion); err != nil && name == "bash" {
				have(t, "bash-completion") // which the script needs
			}
			if err := os.WriteFile(filepath.Join(dir, "_segue"), []byte(script(t, name)), 0o600); err != nil {
				t.Fatal(err)
			}
			lines := slices.Sorted(maps.Keys(completed))
			out, err := run(t, zsh, append([]string{"-f", "-c", `
zmodload zsh/zpty
zpty -b z ` + shell + `
zpty -w z "` + strings.ReplaceAll(begin, `"`, `\"`) + `"
zpty -r -m z out '*ready*'
for line in "${@:2}"; do
	zpty -w -n z "$line"$'\t\C-a''echo "<<'$'\C-e''>>"'$'\n'
	zpty -r -m z out $'*\n<<*>>*'
	print -r -- "$out"
done
zpty -d z`, "zsh", dir}, lines...)...)
			for _, line := range lines {
				words := strings.Fields(line)
				want := strings.Join(append(words[:len(words)-1], completed[line]), " ")
				if err != nil || !strings.Contains(strings.ReplaceAll(out, " >>", ">>"), "\n<<"+want+">>") {
					t.Errorf("%q is not completed to %s: %v", line, want, err)
				}
			}
			if t.Failed() {
				t.Logf("%q", out)
			}
		})
	}
}

// run runs a shell that cannot find anybody's configuration, but finds this program, as segue.
func run(t *testing.T, shell string, args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "segue"), []byte("#!/bin/sh\n"+envRole+"=segue exec '"+self+"' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "ZDOTDIR=", "TERM=dumb", "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}
