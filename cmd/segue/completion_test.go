package main

import (
	"context"
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

// have returns where a shell is. .ci/run sees to bash and zsh; fish is a matter of taste.
func have(t *testing.T, shell string) string {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		if os.Getenv("CI") == "true" && shell != "fish" {
			t.Fatalf("missing: %s; for example: apt-get install %[1]s", shell)
		}
		t.Skipf("missing: %s, to load the completion script; for example: apt-get install %[1]s", shell)
	}
	return path
}

// TestCompletionScripts wants all that is to be seen in the scripts, and nothing else.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			s := script(t, shell)
			for _, want := range []string{"sockets", "adopt", "json", "signal", "QUIT"} {
				if !strings.Contains(s, want) {
					t.Errorf("no %s", want)
				}
			}
			if strings.Contains(s, "adopt-") {
				t.Error("has what is hidden")
			}
			cmd := exec.Command(have(t, shell), "-n")
			cmd.Stdin = strings.NewReader(s)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s -n: %v: %s", shell, err, out)
			}
		})
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
	"segue adopt -- ls -l /proc/vers":      "/proc/version",
}

// TestCompletionBash calls the function as bash does.
func TestCompletionBash(t *testing.T) {
	bash, s := have(t, "bash"), script(t, "bash")
	for line, want := range completed {
		words := strings.Fields(line)
		out, err := run(t, bash, append([]string{"-c", s + `
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _segue_complete; printf '%s\n' "${COMPREPLY[@]}"`, "bash"}, words...)...)
		if err != nil || !slices.Contains(strings.Split(out, "\n"), want) {
			t.Errorf("%q completes to %q, %v; want %s", line, out, err, want)
		}
	}
}

// TestCompletionFish asks fish itself.
func TestCompletionFish(t *testing.T) {
	fish, file := have(t, "fish"), filepath.Join(t.TempDir(), "segue.fish")
	if err := os.WriteFile(file, []byte(script(t, "fish")), 0o600); err != nil {
		t.Fatal(err)
	}
	complete := func(line string) (words []string) {
		out, err := run(t, fish, "-N", "-c", "source $argv[1]; complete -C $argv[2]", "--", file, line)
		if err != nil {
			t.Errorf("%q: %v: %s", line, err, out)
		}
		for l := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(l), "\t")
			words = append(words, word)
		}
		return words
	}
	for line, want := range completed {
		if words := complete(line); !slices.Contains(words, want) {
			t.Errorf("%q completes to %q; want %s", line, words, want)
		}
	}
	if words := complete("segue adopt -- true --"); slices.Contains(words, "--listen") {
		t.Errorf("after --, there are %q", words)
	}
}

// TestCompletionZsh types into zsh, in which nothing was completed before: the script is loaded by the first Tab.
func TestCompletionZsh(t *testing.T) {
	zsh, dir := have(t, "zsh"), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "_segue"), []byte(script(t, "zsh")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"segue soc", "segue adopt --signal Q", "segue adopt --pid 1 -- readli"} {
		out, err := run(t, zsh, "-f", "-c", `
zmodload zsh/zpty
zpty -b z zsh -f -i
zpty -w z "fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D; bindkey -e; PS1=; echo rea''dy"
zpty -r -m z out '*ready*'
zpty -w -n z "$2"$'\t\C-a''echo "<<'$'\C-e''>>"'$'\n'
zpty -r -m z out $'*\n<<*>>*'
print -r -- "$out"
zpty -d z`, "zsh", dir, line)
		words := strings.Fields(line)
		want := strings.Join(append(words[:len(words)-1], completed[line]), " ")
		if err != nil || !strings.Contains(out, "\n<<"+want) {
			t.Errorf("%q completes to %q, %v; want %s", line, out, err, want)
		}
	}
}

// run runs a shell that cannot find anybody's configuration.
func run(t *testing.T, shell string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "ZDOTDIR=", "TERM=dumb")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
