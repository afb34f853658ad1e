// Command kernel runs tests of this repository on older kernels: it boots those that Debian packs, in qemu without hardware
// support, with nothing on board but busybox, the test binaries and the source. See make test-kernel.
//
// Emulated, everything takes many times longer, and tests do not know it: they wait for events.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	os.Exit(run())
}

// options are the flags.
type options struct {
	kernels string
	quick   bool
	pattern string
	timeout time.Duration
	keep    string
}

func run() int {
	var o options
	flag.StringVar(&o.kernels, "kernels", "6.1,6.12", "which `releases` of Debian's kernels, with commas")
	flag.BoolVar(&o.quick, "quick", false, "a part that takes five minutes at most")
	flag.StringVar(&o.pattern, "run", "", "only these tests, as `go test -run` takes it")
	flag.DurationVar(&o.timeout, "timeout", 30*time.Minute, "for each kernel")
	flag.StringVar(&o.keep, "log", "", "a `directory` for all that the tests print; none: what fails is printed")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: kernel [flags] [package ...], such as ./handoff/internal/peer\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := test(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "kernel:", err)
		return 1
	}
	return 0
}

// suite is the tests of one package.
type suite struct {
	pkg     string // from the root of the repository: handoff/internal/peer
	binary  string // the name of the file in the guest
	pattern string // -test.run
}

// faults are the tests of package integration that run: the others are more of the same, on any kernel, and take too long.
const faults = "Fault|TestRescueBesideHeir|TestEndsInGuard|TestDiesAfterGuard|TestTransportRefused"

// quick are what -quick runs: what differs from kernel to kernel.
var quick = map[string]string{
	"handoff/fdpass":              "",
	"handoff/internal/link":       "",
	"handoff/internal/peer":       "",
	"handoff/internal/rendezvous": "",
	"handoff/internal/spawn":      "",
	"handoff/internal/transport":  "",
	"handoff":                     "TestJoin|TestRescue|TestUpgrade$|TestTransports",
	"integration":                 "TestNumberReused/all|TestFaults/successor/(upgrade|join)/kill/(sent_hello|received_offer|sent_owned|received_ping)",
}

func test(ctx context.Context, o options, packages []string) error {
	qemu, busybox, err := programs()
	if err != nil {
		return err
	}
	root, err := rootDir(ctx)
	if err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "segue-kernels")
	var kernels []kernel
	for release := range strings.SplitSeq(o.kernels, ",") {
		k, err := get(ctx, cache, release)
		if err != nil {
			return err
		}
		kernels = append(kernels, k)
	}
	work, err := os.MkdirTemp("", "segue-kernel-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	fmt.Println("building")
	suites, err := build(ctx, root, work, o, packages)
	if err != nil {
		return err
	}
	var failed []string
	for _, k := range kernels {
		image := filepath.Join(work, "initramfs")
		if err := makeImage(ctx, image, root, work, busybox, k, suites); err != nil {
			return err
		}
		r, err := boot(ctx, qemu, k, image, o)
		r.print(os.Stdout)
		if err != nil {
			return fmt.Errorf("linux %s: %w", k.release, err)
		}
		if !r.good(len(suites)) {
			failed = append(failed, k.release)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("tests failed on linux %s", strings.Join(failed, ", "))
	}
	return nil
}

// programs finds what the machine must have.
func programs() (qemu, busybox string, err error) {
	var missing []string
	if qemu, err = exec.LookPath("qemu-system-x86_64"); err != nil {
		missing = append(missing, "qemu-system-x86")
	}
	if busybox, err = exec.LookPath("busybox"); err != nil {
		missing = append(missing, "busybox-static")
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		missing = append(missing, "dpkg")
	}
	if len(missing) > 0 {
		return "", "", fmt.Errorf("missing: %s; on Debian and its like: apt-get install --no-install-recommends %[1]s", strings.Join(missing, " "))
	}
	return qemu, busybox, nil
}

func rootDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// build makes a static test binary of each package, in dir/bin.
func build(ctx context.Context, root, dir string, o options, packages []string) ([]suite, error) {
	all := len(packages) == 0
	if all {
		packages = []string{"./listener", "./handoff/...", "./integration"}
	}
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}"}, packages...)...)
	list.Dir, list.Stderr = root, os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var suites []suite
	for pkg := range strings.FieldsSeq(string(out)) {
		rel, err := filepath.Rel(root, pkg)
		if err != nil {
			return nil, err
		}
		s := suite{pkg: rel, binary: strings.ReplaceAll(rel, "/", "-") + ".test", pattern: o.pattern}
		if pattern, ok := quick[rel]; o.quick && all && !ok {
			continue
		} else if o.quick && s.pattern == "" {
			s.pattern = pattern
		}
		if rel == "integration" && s.pattern == "" {
			s.pattern = faults
		}
		suites = append(suites, s)
	}
	if len(suites) == 0 {
		return nil, errors.New("no package has tests")
	}
	slices.SortStableFunc(suites, func(a, b suite) int { return strings.Count(b.pkg, "/") - strings.Count(a.pkg, "/") }) // the small ones first
	for _, s := range suites {
		c := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags=-s -w", "-o", filepath.Join(dir, "bin", s.binary), "./"+s.pkg)
		c.Dir, c.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		if err := c.Run(); err != nil {
			return nil, fmt.Errorf("go test -c ./%s: %w", s.pkg, err)
		}
	}
	return suites, nil
}
