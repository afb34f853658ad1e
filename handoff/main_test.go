package handoff_test

import (
	"os"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

// TestMain plays a successor if it is told to (see child in child_linux_test.go), and fails if the tests leave
// goroutines, descriptors or variables of the environment behind.
func TestMain(m *testing.M) {
	if play := os.Getenv(roleEnv); play != "" {
		os.Exit(playRole(play))
	}
	before := len(os.Environ())
	code := leak.Main(m)
	if n := len(os.Environ()); code == 0 && n != before {
		_, _ = os.Stderr.WriteString("the tests changed the environment\n")
		code = 1
	}
	os.Exit(code)
}

const roleEnv = "SEGUE_TEST_ROLE"
