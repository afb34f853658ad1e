package process_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/leak"
)

// envRole names what a test binary that was started by a test is to play.
const envRole = "SEGUE_TEST_ROLE"

var roles = map[string]func(args []string) int{
	"hold":     roleHold,
	"serve":    roleServe,
	"master":   roleMaster,
	"headless": roleHeadless,
	"prefork":  rolePrefork,
	"exit":     func([]string) int { return 0 },
	"refuse":   roleRefuse,
	"forged":   roleForged,
	"inherit":  roleInherit,
}

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		f, ok := roles[role]
		if !ok {
			fmt.Fprintf(os.Stderr, "unknown role %q; there are %s\n", role, strings.Join(slices.Sorted(maps.Keys(roles)), " "))
			os.Exit(64)
		}
		os.Exit(f(os.Args[1:]))
	}
	// What loses its parent in a test becomes ours, so that it is reaped.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(leak.Main(m))
}
