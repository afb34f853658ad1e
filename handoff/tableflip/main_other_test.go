//go:build !linux

package tableflip_test

import (
	"os"
	"testing"

	"github.com/segue-go/segue/integration/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }
