package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fieldsOf returns the fields of all structs in the packages of handoff and listener, as package.Type.field, and whether each is
// a lock.
func fieldsOf(t *testing.T) map[string]bool {
	t.Helper()
	fields := make(map[string]bool)
	files := token.NewFileSet()
	look := func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, id := range f.Names {
						fields[file.Name.Name+"."+spec.Name.Name+"."+id.Name] = isLock(f.Type)
					}
					if isLock(f.Type) && len(f.Names) == 0 {
						t.Errorf("%s: name this lock, so that docs/architecture.md can", files.Position(f.Pos()))
					}
				}
			}
			return true
		})
		return nil
	}
	for _, dir := range []string{"../handoff", "../listener"} {
		if err := filepath.WalkDir(dir, look); err != nil {
			t.Fatal(err)
		}
	}
	return fields
}

func isLock(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "sync" && (s.Sel.Name == "Mutex" || s.Sel.Name == "RWMutex")
}

// TestLockTable compares the tables of locks in docs/architecture.md with the source: each lock has a row, in the place that says
// before which it is taken, and each row has a lock.
func TestLockTable(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## Concurrency\n")
	section, _, ends := strings.Cut(section, "\n## ")
	if !found || !ends {
		t.Fatal("docs/architecture.md has no section about concurrency")
	}
	named := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(section, -1) {
		for _, q := range regexp.MustCompile("`([a-z]+\\.[A-Za-z]+\\.[a-z]+)`").FindAllStringSubmatch(row[1], -1) {
			if named[q[1]] {
				t.Errorf("docs/architecture.md has two rows for %s", q[1])
			}
			named[q[1]] = true
		}
	}
	fields := fieldsOf(t)
	locks := 0
	for name, lock := range fields {
		if lock {
			locks++
		}
		if lock && !named[name] {
			t.Errorf("%s is in no table of docs/architecture.md, Concurrency; say there what it guards, and before which it is taken", name)
		}
	}
	for name := range named {
		if _, there := fields[name]; !there { // it may be a channel that serves as a lock
			t.Errorf("docs/architecture.md has a row for the lock %s, which is not there", name)
		}
	}
	if locks < 30 {
		t.Errorf("%d locks in the source: is it not read any more?", locks)
	}
}
