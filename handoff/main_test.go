package handoff_test

import (
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/segue-go/segue/integration/decisions"
	"github.com/segue-go/segue/integration/leak"
)

// TestMain fails if the tests leave goroutines, descriptors or variables of the environment behind.
func TestMain(m *testing.M) {
	flag.Parse()
	// The tests of rows wait for timeouts, most of the time.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	before := os.Environ()
	code := leak.Main(m)
	if code == 0 && !slices.Equal(os.Environ(), before) {
		_, _ = os.Stderr.WriteString("the tests changed the environment\n")
		code = 1
	}
	if code == 0 && decisions.All() {
		if err := decisions.Whole("handoff"); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}
