package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// boot runs the suites on a kernel. What has come is returned with an error too.
func boot(ctx context.Context, qemu string, k kernel, image string, o options) (*report, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	r := &report{release: k.release}
	out, in, err := os.Pipe()
	if err != nil {
		return r, err
	}
	defer out.Close()
	console := filepath.Join(filepath.Dir(image), "console-"+k.release)
	c := exec.CommandContext(ctx, qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3G", "-nodefaults", "-nographic",
		"-no-reboot", "-kernel", k.image, "-initrd", image, "-append", "console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=on",
		"-serial", "file:"+console, "-serial", "stdio", "-monitor", "none")
	c.Stdout, c.Stderr = in, os.Stderr
	started := time.Now()
	err = c.Start()
	_ = in.Close()
	if err != nil {
		return r, err
	}
	log := io.Discard
	if o.keep != "" {
		f, err := os.Create(filepath.Join(o.keep, k.release+".log"))
		if err != nil {
			cancel()
			return r, errors.Join(err, c.Wait())
		}
		defer f.Close()
		log = f
	}
	r.read(io.TeeReader(out, log))
	err = c.Wait()
	r.took = time.Since(started)
	if ctx.Err() != nil {
		err = fmt.Errorf("not done within %v: %w", o.timeout, context.Cause(ctx))
	}
	if !r.ended && err == nil {
		said, _ := os.ReadFile(console)
		err = fmt.Errorf("the guest ended before its tests; its console says: %s", said)
	}
	return r, err
}

// report is what the tests of one kernel said.
type report struct {
	release string
	suites  []*result
	ended   bool
	took    time.Duration
}

// result is that of one package.
type result struct {
	pkg                     string
	status                  string // of the process: "" before it has ended
	passed, failed, skipped []string
	output                  map[string][]string // by test
	last                    string              // the test that printed last
	began                   time.Time
	took                    time.Duration
}

var (
	verdict = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)
	heading = regexp.MustCompile(`^=== (?:RUN|CONT|NAME)\s+(\S+)`) // of what follows
)

func (r *report) read(from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	var now *result
	var name string // the test that prints
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		word, rest, _ := strings.Cut(strings.TrimPrefix(line, "== "), " ")
		switch m := verdict.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "== ") && word == "suite":
			now, name = &result{pkg: rest, output: map[string][]string{}, began: time.Now()}, ""
			r.suites = append(r.suites, now)
		case strings.HasPrefix(line, "== ") && word == "exit" && now != nil:
			now.status, now.last, now.took = rest, name, time.Since(now.began)
			fmt.Printf("%s: %s: %d passed, %d failed, %d skipped (%.0f s)\n", r.release, now.pkg, len(now.passed), len(now.failed), len(now.skipped), now.took.Seconds())
		case line == "== end":
			r.ended = true
		case now == nil:
		case m == nil:
			if h := heading.FindStringSubmatch(line); h != nil {
				name = h[1]
			} else {
				now.output[name] = append(now.output[name], line)
			}
		default:
			switch m[1] {
			case "PASS":
				now.passed = append(now.passed, m[2])
			case "FAIL":
				now.failed = append(now.failed, m[2])
			case "SKIP":
				now.skipped = append(now.skipped, m[2])
			}
		}
	}
}

// good reports whether n suites have passed.
func (r *report) good(n int) bool {
	return r.ended && len(r.suites) == n && !slices.ContainsFunc(r.suites, func(s *result) bool { return s.status != "0" })
}

// most is how many lines of a test that failed are printed.
const most = 60

func (r *report) print(w io.Writer) {
	var passed, failed, skipped int
	for _, s := range r.suites {
		passed, failed, skipped = passed+len(s.passed), failed+len(s.failed), skipped+len(s.skipped)
		if s.status == "0" {
			continue
		}
		fmt.Fprintf(w, "\nlinux %s: %s ended with status %q\n", r.release, s.pkg, s.status)
		printed := s.failed
		if !slices.Contains(printed, s.last) {
			printed = append(slices.Clone(printed), s.last) // a panic, or what has not ended
		}
		for _, name := range printed {
			if out := s.output[name]; len(out) > 0 {
				fmt.Fprintf(w, "%s:\n%s\n", name, strings.Join(out[max(0, len(out)-most):], "\n"))
			}
		}
	}
	fmt.Fprintf(w, "\nlinux %s: %d passed, %d failed, %d skipped, %.0f s\n", r.release, passed, failed, skipped, r.took.Seconds())
	for _, s := range r.suites {
		for _, name := range s.failed {
			fmt.Fprintf(w, "  failed:  %s %s\n", s.pkg, name)
		}
		for _, name := range s.skipped {
			fmt.Fprintf(w, "  skipped: %s %s: %s\n", s.pkg, name, reason(s.output[name]))
		}
	}
}

// reason is the last line of a test that was skipped.
func reason(output []string) string {
	if len(output) == 0 {
		return ""
	}
	return strings.TrimSpace(output[len(output)-1])
}
