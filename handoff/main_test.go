package handoff_test

import (
	"os"
	"slices"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

// TestMain fails if the tests leave goroutines, descriptors or variables of the environment behind.
func TestMain(m *testing.M) {
	before := os.Environ()
	code := leak.Main(m)
	if code == 0 && !slices.Equal(os.Environ(), before) {
		_, _ = os.Stderr.WriteString("the tests changed the environment\n")
		code = 1
	}
	os.Exit(code)
}
