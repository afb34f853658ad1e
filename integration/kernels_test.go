package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/segue-go/segue/internal/kernel"
)

// TestOperationsTellsKernels: docs/operations.md has the table of internal/kernel.
func TestOperationsTellsKernels(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## Kernels\n")
	if !ok {
		t.Fatal("docs/operations.md has no section Kernels")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| ") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	want := []string{"| Feature | Linux | Without |"}
	for _, f := range kernel.Features() {
		want = append(want, fmt.Sprintf("| %s | %s | %s |", f.Name, f.Since, f.Without))
	}
	if got, want := strings.Join(rows, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("docs/operations.md has\n%s\nand internal/kernel\n%s", got, want)
	}
}
