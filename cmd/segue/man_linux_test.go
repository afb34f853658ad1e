package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// manDir is where TestMan leaves the pages, for make man. A test makes them because their generator links parsers for Markdown
// and YAML, and the command is not to link these.
var manDir = flag.String("man", "", "the directory for the manual pages")

// TestMan makes a manual page of each command, with its flags.
func TestMan(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	root := newEnv().tree()
	root.DisableAutoGenTag = true
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "segue", Manual: "segue"}, dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range visible() {
		if c.Name() == "help" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, "segue-"+c.Name()+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		page := strings.ReplaceAll(string(b), `\-`, "-")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(page, "--"+f.Name) {
				t.Errorf("the page of %s does not have --%s", c.Name(), f.Name)
			}
		})
	}
	if hidden, _ := filepath.Glob(filepath.Join(dir, "*-exec.1")); len(hidden) > 0 {
		t.Errorf("there are pages of what is hidden: %v", hidden)
	}
}
