package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/segue-go/segue/integration/children"
)

// serverLog is the file that all server processes write to. A pipe would not do: what a process writes to one that is
// full, or that nobody reads any more, stops or kills it.
type serverLog struct {
	path string
	file *os.File
	read int64    // how far
	rest []byte   // an unfinished line
	line []string // what was read
}

func newServerLog() (*serverLog, error) {
	f, err := os.CreateTemp("", "segue-demo-*.log")
	if err != nil {
		return nil, err
	}
	path := f.Name()
	_ = f.Close() // nothing was written
	if f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0); err != nil {
		return nil, err
	}
	return &serverLog{path: path, file: f}, nil
}

func (l *serverLog) close()  { _ = l.file.Close() } // what was written, others wrote
func (l *serverLog) remove() { _ = os.Remove(l.path) }

// note writes a line of the demo's own, so that the log can be read by itself.
func (l *serverLog) note(format string, args ...any) {
	line := fmt.Sprintf("%s demo: %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	_, _ = l.file.WriteString(line) // a log that cannot be written is no reason to stop
}

// lines returns how many whole lines there are.
func (l *serverLog) lines() int {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.file.ReadAt(buf, l.read)
		l.read += int64(n)
		l.rest = append(l.rest, buf[:n]...)
		if err != nil || n == 0 {
			break
		}
	}
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(l.line)
		}
		l.line = append(l.line, string(line))
		l.rest = rest
	}
}

// await returns the first line from number from on that holds all the texts, not the demo's own.
func (l *serverLog) await(ctx context.Context, from int, texts ...string) (string, error) {
	var found string
	err := children.Eventually(ctx, func() bool {
		n := l.lines()
		for ; from < n; from++ {
			s := l.line[from]
			lacks := func(text string) bool { return !strings.Contains(s, text) }
			if !slices.ContainsFunc(texts, lacks) && lacks(" demo: ") {
				found = s
				return true
			}
		}
		return false
	})
	if err != nil {
		return "", fmt.Errorf("no line with %q in the servers' log: %w", texts, err)
	}
	return found, nil
}
