package systemd

import (
	"os"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) {
	if os.Getenv(envRole) == "init" {
		os.Exit(initProgram(os.Args[1:]))
	}
	os.Exit(leak.Main(m))
}
