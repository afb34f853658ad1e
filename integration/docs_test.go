package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// logLine is a message in the source.
type logLine struct{ level, text, where string }

// logLines returns what the packages of handoff write to a *slog.Logger, of the levels that name an operator's business.
func logLines(t *testing.T) (lines []logLine) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir("../handoff", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			called, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			level := strings.ToLower(called.Sel.Name)
			text, ok := literal(call.Args[0])
			if ok && (level == "info" || level == "warn" || level == "error") {
				lines = append(lines, logLine{level, text, files.Position(call.Args[0].Pos()).String()})
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// literal returns the text of an expression that is one, or several that are added.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		x, xOK := literal(e.X)
		y, yOK := literal(e.Y)
		return x + y, xOK && yOK && e.Op == token.ADD
	}
	return "", false
}

// TestLogTable compares the table of docs/operations.md with the source: each line of level warn or error is in it, and
// nothing is in it that nobody writes.
func TestLogTable(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (info|warn|error) \| ([^|]*) \|`)
	quoted := regexp.MustCompile("`([^`]+)`")
	type entry struct {
		logLine
		pattern *regexp.Regexp
		written bool
	}
	var table []*entry
	for _, cells := range row.FindAllStringSubmatch(string(page), -1) {
		for _, q := range quoted.FindAllStringSubmatch(cells[2], -1) {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(q[1]), `\.\.\.`, ".*") // an ellipsis stands for anything
			table = append(table, &entry{
				logLine: logLine{level: cells[1], text: q[1]}, pattern: regexp.MustCompile("^" + pattern + "$"),
			})
		}
	}
	lines := logLines(t)
	if len(lines) < 50 || len(table) < 50 {
		t.Errorf("only %d lines in the source and %d in the table: is either not read any more?", len(lines), len(table))
	}
	for _, l := range lines {
		found := false
		for _, e := range table {
			if e.level == l.level && e.pattern.MatchString(l.text) {
				e.written, found = true, true
			}
		}
		if !found && l.level != "info" {
			t.Errorf("%s: %s: %q is not in the table of docs/operations.md; say there what it means and what to do",
				l.where, l.level, l.text)
		}
	}
	for _, e := range table {
		if !e.written {
			t.Errorf("docs/operations.md: nobody writes `%s` with level %s", e.text, e.level)
		}
	}
}

// TestArchitectureNamesFiles compares the tables of docs/architecture.md with the files of the packages that have one each.
func TestArchitectureNamesFiles(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	tables := map[string]map[string]bool{} // by directory
	for _, part := range regexp.MustCompile("(?m)^In `([a-z/]+)`[^\n]*:\n\n((?:\\|.*\n)+)").FindAllStringSubmatch(string(page), -1) {
		named := map[string]bool{}
		for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z0-9_]+\\.go`[^|]*) \\|").FindAllStringSubmatch(part[2], -1) {
			for _, q := range quoted.FindAllStringSubmatch(row[1], -1) {
				named[q[1]] = true
			}
		}
		tables[part[1]] = named
	}
	for _, dir := range []string{"handoff", "handoff/internal/driver", "handoff/internal/rendezvous", "handoff/internal/spawn", "handoff/internal/state",
		"handoff/systemd", "handoff/tableflip", "handoff/control", "cmd/segue/internal/supervise"} {
		if len(tables[dir]) == 0 {
			t.Errorf("docs/architecture.md has no table of %s", dir)
		}
	}
	for dir, named := range tables {
		names, err := filepath.Glob("../" + dir + "/*.go")
		if err != nil || len(names) == 0 {
			t.Fatal(dir, names, err)
		}
		for _, name := range names {
			base := filepath.Base(name)
			if base != "doc.go" && !strings.HasSuffix(base, "_test.go") && !named[base] {
				t.Errorf("%s is not in the table of its package in docs/architecture.md; say there what its topic is", name)
			}
			delete(named, base)
		}
		for base := range named {
			t.Errorf("docs/architecture.md has a row for %s/%s, which is not there", dir, base)
		}
	}
}

// TestReadmeProgram builds the program that README.md shows.
func TestReadmeProgram(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindSubmatch(page)
	if program == nil {
		t.Fatal("README.md shows no program")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, program[1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("go"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("there is no go command")
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "hello"), source)
	cmd.Dir = ".." // whose go.mod says where the imports are
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
