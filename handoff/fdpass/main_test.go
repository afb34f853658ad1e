package fdpass

import (
	"os"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("SEGUE_TEST_ROLE"); role != "" {
		os.Exit(runRole(role))
	}
	os.Exit(leak.Main(m))
}
