package raw

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Failure is what ended a client.
type Failure struct {
	Mode   Mode
	Client int
	Op     string // connect send receive half-close; idle: the connection ended while nothing was asked
	Token  string // of the request whose answer was to come next; "": none
	Err    error
	At     time.Time

	// Of the connection; without one Dialed is zero.
	Dialed   time.Time
	Local    string
	Answered int // requests on it
	PID      int // who answered the last of them; 0 is nobody, or unknown
}

// Error describes the failure in one line.
func (f Failure) Error() string {
	s := fmt.Sprintf("%s client %d: %s", f.Mode, f.Client, f.Op)
	if f.Token != "" {
		s += " " + f.Token
	}
	s += fmt.Sprintf(": %v", f.Err)
	if f.Dialed.IsZero() {
		return s
	}
	return s + fmt.Sprintf("; %s, connected %v before, %d answered, the last by pid %d", f.Local,
		f.At.Sub(f.Dialed).Round(time.Millisecond), f.Answered, f.PID)
}

// Unwrap returns the cause.
func (f Failure) Unwrap() error { return f.Err }

// Dropped reports whether the peer closed the connection, as it happens when its process dies.
func (f Failure) Dropped() bool {
	return errors.Is(f.Err, io.EOF) || errors.Is(f.Err, io.ErrUnexpectedEOF) || reset(f.Err)
}

func reset(err error) bool {
	// ENOTCONN is what shutdown(2) says of a connection that has been reset.
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN)
}

// Answer is a request that was begun, and if it was answered rightly, when and by whom.
type Answer struct {
	Token      string
	Start, End time.Time // End is zero if it was not answered
	PID        int       // by X-Segue-Pid; 0 is unknown
}

// ModeResult is what came of one mode.
type ModeResult struct {
	Mode        Mode
	Clients     int
	Connections int // as many as clients, unless the mode connects anew each time
	Answered    int
	Asked       []Answer
	Failures    []Failure   // at most one for each client
	Last        map[int]int // how many clients that did not fail had their last answer from which process
}

// Result is what came of a run.
type Result struct {
	Begun time.Time
	Seed  uint64
	Modes []ModeResult
}

// Failures returns all failures in the order in which they were noticed.
func (r *Result) Failures() []Failure {
	var all []Failure
	for _, m := range r.Modes {
		all = append(all, m.Failures...)
	}
	slices.SortFunc(all, func(a, b Failure) int { return a.At.Compare(b.At) })
	return all
}

// Err returns nil if nothing failed and each mode was answered, else an error that says how much failed and wraps the
// first few.
func (r *Result) Err() error {
	var errs []error
	failures := r.Failures()
	for i, f := range failures {
		if i == 8 {
			errs = append(errs, errors.New("and so on"))
			break
		}
		errs = append(errs, fmt.Errorf("at %.3f s: %w", f.At.Sub(r.Begun).Seconds(), f))
	}
	for _, m := range r.Modes {
		if m.Answered == 0 {
			errs = append(errs, fmt.Errorf("%s: no request was answered", m.Mode))
		}
	}
	if errs == nil {
		return nil
	}
	head := fmt.Errorf("raw: %d clients failed (seed %d)", len(failures), r.Seed)
	return errors.Join(append([]error{head}, errs...)...)
}

// Handled compares what was asked with what servers say that they have handled: lines with a token and the handling
// process's id. It returns an error for each request that was handled twice, that was answered and not handled, or
// handled by another process than the one that answered.
func (r *Result) Handled(log io.Reader) error {
	by := map[string][]int{}
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		token, pid, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(pid)
		if err != nil {
			return fmt.Errorf("raw: a garbled line %q: %w", lines.Text(), err)
		}
		by[token] = append(by[token], n)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	var errs []error
	for _, m := range r.Modes {
		for _, a := range m.Asked {
			switch pids := by[a.Token]; {
			case len(pids) > 1:
				errs = append(errs, fmt.Errorf("%s was handled %d times, by %v", a.Token, len(pids), pids))
			case len(pids) == 0 && !a.End.IsZero():
				errs = append(errs, fmt.Errorf("%s was answered by %d, and handled by nobody", a.Token, a.PID))
			case len(pids) == 1 && !a.End.IsZero() && a.PID != pids[0]:
				errs = append(errs, fmt.Errorf("%s was answered by %d, and handled by %d", a.Token, a.PID, pids[0]))
			}
		}
	}
	if len(errs) > 8 {
		errs = append(errs[:8], fmt.Errorf("and %d more", len(errs)-8))
	}
	return errors.Join(errs...)
}
