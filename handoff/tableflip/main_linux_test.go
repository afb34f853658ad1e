package tableflip_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/leak"
)

// envRole makes the test binary play a program, see programs_linux_test.go.
const envRole = "SEGUE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "program":
		os.Exit(program(os.Args[1]))
	case "inherit":
		os.Exit(inherit(os.Args[1:]))
	}
	// What loses its parent in a test becomes ours, so that it is reaped.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(leak.Main(m))
}
