package otel_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

// envRole names what a test binary that was started by a test is to play.
const envRole = "SEGUE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(leak.Main(m))
}
