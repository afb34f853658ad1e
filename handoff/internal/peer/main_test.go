//go:build linux

package peer

import (
	"os"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

// TestMain is also the main function of the processes that the tests start: this binary again, with a role.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		os.Exit(runRole(role))
	}
	os.Exit(leak.Main(m))
}
