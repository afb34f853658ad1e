package integration

import (
	"bytes"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxLines is what CONTRIBUTING.md allows a file to have, without blank lines and comments.
const maxLines = 400

// codeLines returns how many lines of a Go file have code on them.
func codeLines(src []byte) int {
	files := token.NewFileSet()
	file := files.AddFile("", files.Base(), len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, 0) // without comments
	lines, last := 0, 0
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			return lines
		}
		if tok == token.SEMICOLON && text == "\n" {
			continue // where a line ends, of its own accord
		}
		first := file.Line(pos)
		end := first + strings.Count(text, "\n") // of a raw string
		lines += end - max(first-1, last)
		last = end
	}
}

func TestCodeLines(t *testing.T) {
	for src, want := range map[string]int{
		"package a\n": 1,
		"// a\n\npackage a // b\n\n/* c\n*/\n\nvar x = f(1,\n\t2)\n": 3,
		"package a\n\nvar x = `\n\n`; var y = `\n`\n":                5,
	} {
		if got := codeLines([]byte(src)); got != want {
			t.Errorf("%q: %d lines, want %d", src, got, want)
		}
	}
}

// TestFilesAreShort holds each Go file of the repository to what CONTRIBUTING.md says.
func TestFilesAreShort(t *testing.T) {
	n := 0
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != ".." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		n++
		if lines := codeLines(src); lines >= maxLines {
			t.Errorf("%s has %d lines of code; at %d it is time to find a second topic in it (%d lines with comments)",
				name, lines, maxLines, bytes.Count(src, []byte{'\n'}))
		}
		return nil
	})
	if err != nil || n < 100 {
		t.Errorf("looked at %d files only: %v", n, err)
	}
}
