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

// TestArchitectureNamesFiles compares each table of docs/architecture.md that is headed by the name of a directory with the files
// there. A table for several packages names each by a path.
func TestArchitectureNamesFiles(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]bool)
	heading := regexp.MustCompile("(?m)^In .*`([a-z/]+)`:\n\n\\| File \\| Topic \\|\n\\|---\\|---\\|\n((?:\\|.*\n)+)")
	for _, table := range heading.FindAllSubmatch(page, -1) {
		for _, row := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllSubmatch(table[2], -1) {
			for _, q := range regexp.MustCompile("`([^`]+)`").FindAllSubmatch(row[1], -1) {
				name := "../" + string(table[1]) + "/" + string(q[1])
				rows[name] = true
				if _, err := os.Stat(name); err != nil {
					t.Errorf("docs/architecture.md has a row for a file that is not there: %v", err)
				}
			}
		}
	}
	dirs, err := filepath.Glob("../handoff/internal/*")
	if err != nil || len(rows) < 100 {
		t.Fatalf("%d files in the tables: are they not read any more? %v", len(rows), err)
	}
	for _, dir := range append(dirs, "../handoff", "../handoff/fdpass", "../handoff/serve", "../handoff/systemd", "../handoff/tableflip",
		"../handoff/control", "../listener", "../cmd/segue/internal/supervise") {
		names, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(names) == 0 {
			t.Fatal(dir, err)
		}
		for _, name := range names {
			if filepath.Base(name) != "doc.go" && !strings.HasSuffix(name, "_test.go") && !rows[name] {
				t.Errorf("%s is in no table of docs/architecture.md; say there what its topic is", name)
			}
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
