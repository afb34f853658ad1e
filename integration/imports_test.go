package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/segue-go/segue"

// layers are the packages of this module from the bottom up, by the patterns of path.Match. A package imports only
// what is in a lower layer, or in its own where that is marked as such.
var layers = []struct {
	patterns []string
	within   bool // whether packages of the layer may import each other
}{
	{patterns: []string{"internal/startenv", "internal/kernel"}}, // also for cmd, which must not see what is in handoff/internal
	{patterns: []string{"handoff/timeline"}},                     // also for who shows handoffs, and links nothing else
	{patterns: []string{"listener"}},
	{patterns: []string{"handoff/fdpass"}},
	{patterns: []string{"handoff/internal/succession"}}, // imports nothing of ours: it decides only
	{patterns: []string{"handoff/internal/*"}, within: true},
	{patterns: []string{"handoff/internal/driver"}},
	{patterns: []string{"handoff"}},
	{patterns: []string{"handoff/serve", "handoff/control", "handoff/systemd", "handoff/tableflip", "handoff/process",
		"handoff/metrics"}},
	{patterns: []string{"cmd/*", "cmd/*/*", "cmd/*/*/*", "examples/*", "examples/internal/*", "integration", "integration/*"},
		within: true},
}

// independent are packages of the highest layer that use nothing of ours: they judge it.
var independent = []string{"integration/load", "integration/raw", "integration/leak", "integration/decisions"}

// foreign says what else than the standard library, x/sys and ours a package may link, itself or by what it imports.
// Everything in no row: nothing.
var foreign = map[string][]string{
	"handoff/metrics":  {"*"}, // Prometheus
	"handoff/systemd":  {"*"}, // go-systemd
	"examples/systemd": {"*"}, // the same
}

// layer returns the number of the layer that a package of ours is in, or -1. One that is named is not meant by a pattern.
func layer(pkg string) int {
	found := -1
	for n, l := range layers {
		for _, p := range l.patterns {
			if p == pkg {
				return n
			}
			if ok, _ := path.Match(p, pkg); ok { // the patterns are well-formed: TestRule
				found = n
			}
		}
	}
	return found
}

// allowed returns nil if package from may import package to; both are ours, named without the module.
func allowed(from, to string) error {
	f, t := layer(from), layer(to)
	switch {
	case f < 0:
		return fmt.Errorf("%s is in no layer; add it to layers in integration/imports_test.go", from)
	case t < 0:
		return fmt.Errorf("%s is in no layer; add it to layers in integration/imports_test.go", to)
	case slices.Contains(independent, from):
		return fmt.Errorf("%s imports %s, but judges segue without using it", from, to)
	case t > f:
		return fmt.Errorf("%s imports %s, which is above it", from, to)
	case t == f && !layers[f].within:
		return fmt.Errorf("%s imports %s, which is beside it", from, to)
	}
	return nil
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	DepOnly    bool
	Error      *struct{ Err string }
}

// list returns the packages of this module and all that they import, for an operating system.
func list(t *testing.T, goos string) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps",
		"-json=ImportPath,Standard,Imports,Deps,DepOnly,Error", module+"/...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &stderr)
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// ours returns the path of a package inside the module, or false if it is not in it.
func ours(importPath string) (string, bool) { return strings.CutPrefix(importPath, module+"/") }

// TestImports checks every import of this module on every system that it compiles for.
func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			all := list(t, goos)
			checked := 0
			for _, p := range all {
				from, ok := ours(p.ImportPath)
				if !ok {
					continue
				}
				checked++
				for _, i := range p.Imports {
					if to, ok := ours(i); ok {
						if err := allowed(from, to); err != nil {
							t.Error(err)
						}
					}
				}
				for _, d := range p.Deps {
					if err := linked(from, all[d]); err != nil {
						t.Error(err)
					}
				}
			}
			if checked == 0 {
				t.Error("go list found no package of this module")
			}
		})
	}
}

// linked returns nil if package from, which is ours, may link package dep.
func linked(from string, dep pkg) error {
	if _, ok := ours(dep.ImportPath); ok || dep.Standard || dep.ImportPath == "" {
		return nil
	}
	if strings.HasPrefix(dep.ImportPath, "golang.org/x/sys/") || slices.Contains(foreign[from], "*") {
		return nil
	}
	if l := layer(from); l == len(layers)-1 && strings.HasPrefix(from, "cmd/") {
		return nil // a program; that libraries do not link it is seen at the libraries
	}
	return fmt.Errorf("%s links %s; only the standard library and x/sys are for everybody", from, dep.ImportPath)
}

// TestRule plants imports that are wrong, and wants them found.
func TestRule(t *testing.T) {
	for _, l := range layers {
		for _, p := range l.patterns {
			if _, err := path.Match(p, "x"); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
	tests := []struct {
		from, to string
		ok       bool
	}{
		{"handoff", "listener", true},
		{"handoff", "handoff/internal/wire", true},
		{"handoff/internal/peer", "handoff/fdpass", true},
		{"handoff/internal/live", "handoff/internal/wire", true},
		{"handoff", "handoff/internal/driver", true},
		{"handoff/internal/driver", "handoff/internal/succession", true},
		{"handoff/internal/peer", "handoff/internal/succession", true},
		{"handoff/internal/peer", "handoff/internal/driver", false},
		{"handoff/internal/succession", "handoff/internal/wire", false},
		{"handoff/internal/driver", "handoff", false},
		{"handoff/serve", "handoff", true},
		{"handoff/serve", "handoff/internal/live", true},
		{"examples/http", "handoff/serve", true},
		{"cmd/segue", "cmd/segue/inspect", true},
		{"integration/demo", "integration/load", true},
		{"listener", "handoff/fdpass", false},
		{"handoff/fdpass", "handoff/internal/wire", false},
		{"handoff/internal/wire", "handoff", false},
		{"handoff", "handoff/serve", false},
		{"handoff", "integration/leak", false},
		{"handoff/serve", "handoff/metrics", false},
		{"integration/load", "handoff", false},
		{"integration/load", "listener", false},
		{"handoff", "elsewhere", false},
		{"elsewhere", "handoff", false},
	}
	for _, tt := range tests {
		if err := allowed(tt.from, tt.to); (err == nil) != tt.ok {
			t.Errorf("%s imports %s: %v", tt.from, tt.to, err)
		}
	}
	links := []struct {
		from string
		dep  pkg
		ok   bool
	}{
		{"handoff/serve", pkg{ImportPath: "net/http", Standard: true}, true},
		{"handoff/serve", pkg{ImportPath: "golang.org/x/sys/unix"}, true},
		{"handoff/serve", pkg{ImportPath: module + "/handoff"}, true},
		{"handoff/serve", pkg{ImportPath: "google.golang.org/grpc"}, false},
		{"handoff", pkg{ImportPath: "golang.org/x/net/http2"}, false},
		{"listener", pkg{ImportPath: "github.com/prometheus/client_golang/prometheus"}, false},
		{"handoff/metrics", pkg{ImportPath: "github.com/prometheus/client_golang/prometheus"}, true},
	}
	for _, tt := range links {
		if err := linked(tt.from, tt.dep); (err == nil) != tt.ok {
			t.Errorf("%s links %s: %v", tt.from, tt.dep.ImportPath, err)
		}
	}
}
