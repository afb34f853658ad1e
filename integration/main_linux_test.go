package integration

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/integration/decisions"
	"github.com/segue-go/segue/integration/leak"
)

// The test binary starts itself again as the servers of these tests: envRole names which, envConf the file with its
// settings. A successor that a server starts by Upgrade inherits both.
const (
	envRole = "SEGUE_TEST_ROLE"
	envConf = "SEGUE_TEST_CONF"
)

// roles are the programs that the test binary can be.
var roles = map[string]func(conf, *emitter) int{
	"tcp":     roleTCP,
	"http":    roleHTTP,
	"udp":     roleUDP,
	"raw":     roleRaw,
	"embed":   roleEmbed,
	"lines":   roleLines,
	"counter": roleCounter,
	"started": roleStarted,
	"minimal": roleMinimal,
	"worker":  roleWorker,
	"store":   roleStore,
	"send":    roleSend,
}

// used remembers which roles the tests have started.
var used struct {
	sync.Mutex
	roles map[string]bool
}

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		os.Exit(play(role))
	}
	flag.Parse()
	// Most of what these tests do is waiting for other processes.
	if err := flag.Set("test.parallel", "3"); err != nil {
		panic(err)
	}
	// Processes that lose their parent become ours, so that they are reaped.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	used.roles = map[string]bool{}
	code := leak.Main(m)
	if code == 0 && decisions.All() {
		for _, role := range slices.Sorted(maps.Keys(roles)) {
			if !used.roles[role] {
				fmt.Fprintf(os.Stderr, "role %q: no test has started it\n", role)
				code = 1
			}
		}
		if code == 0 {
			if err := decisions.Whole("integration"); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// play is main of a role. Status 64 is a mistake in a test.
func play(role string) int {
	f, ok := roles[role]
	if !ok {
		fmt.Fprintf(os.Stderr, "unknown role %q; there are %s\n", role, strings.Join(slices.Sorted(maps.Keys(roles)), " "))
		return 64
	}
	c, err := readConf(os.Getenv(envConf))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 64
	}
	if err := c.pretend(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 64
	}
	e, err := newEmitter(c.Events)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 64
	}
	e.emit(event{Ev: "start", Msg: role, Parent: os.Getppid()})
	code := f(c, e)
	e.emit(event{Ev: "exit", N: code})
	return code
}
