// Package state moves sections of a program's state to the successor, and holds what only one process may have.
package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/segue-go/segue/handoff/internal/wire"
)

// Package handoff exports these; what they mean is documented there.
var (
	ErrSection = errors.New("this section of state cannot be moved")
	ErrState   = errors.New("the state did not move")
	ErrStale   = errors.New("the successor failed and this generation's state is behind; it ends, to be started anew")
)

// Section is one section, with the callbacks and the rules of handoff.Section.
type Section struct {
	Name                  string
	Save, Ahead           func(context.Context, io.Writer) error
	Restore, RestoreAhead func(context.Context, *io.SectionReader) error
	Fresh                 func(context.Context) error
	Hold                  func(context.Context) (release func(), err error)
	Revival               Revival
	Revived               func(context.Context) error

	running sync.Mutex // held while a callback of it runs
	fresh   bool       // Fresh was called, or would have been; owned by Ready
}

// Revival is what becomes of a section in a revival. Its values are those of handoff.Revival.
type Revival int

// The values of Revival.
const (
	RevivalForbid Revival = iota
	RevivalKeep
	RevivalCall
)

// Check returns what is wrong with s by itself. The error is [ErrSection].
func (s *Section) Check() error {
	if _, err := wire.Encode(&wire.State{Name: s.Name}); err != nil || s.Name == "" {
		return Refuse(s.Name, "a name has 1 to %d bytes, in UTF-8 and without NUL", wire.MaxName)
	}
	switch {
	case s.Save == nil && s.Ahead == nil && s.Hold == nil:
		return Refuse(s.Name, "it needs Save, or Ahead, or Hold alone")
	case (s.Save == nil) != (s.Restore == nil):
		return Refuse(s.Name, "Save and Restore go together")
	case (s.Ahead == nil) != (s.RestoreAhead == nil):
		return Refuse(s.Name, "Ahead and RestoreAhead go together")
	case s.Fresh != nil && s.Save == nil && s.Ahead == nil:
		return Refuse(s.Name, "Fresh is for what can be restored")
	case s.Hold != nil && s.Save == nil && (s.Ahead != nil || s.Revival != RevivalForbid):
		return Refuse(s.Name, "Hold is for Save, which it does not have, or it stands alone")
	case s.Revival < RevivalForbid || s.Revival > RevivalCall:
		return Refuse(s.Name, "there is no Revival %d", s.Revival)
	case (s.Revived != nil) != (s.Revival == RevivalCall):
		return Refuse(s.Name, "Revived and RevivalCall go together")
	}
	return nil
}

// Refuse says why a section of that name cannot be registered. The error is [ErrSection].
func Refuse(name, format string, args ...any) error {
	return fmt.Errorf("%w: %.64q: "+format, append([]any{ErrSection, name}, args...)...)
}

// exclusive reports whether s is something that only one process may have: it has Hold alone.
func (s *Section) exclusive() bool { return s.Hold != nil && s.Save == nil }

// sectionError is what a callback of a section did.
type sectionError struct {
	name, what string
	err        error
}

func (e *sectionError) Error() string {
	return fmt.Sprintf("%v: section %q: %s: %v", ErrState, e.name, e.what, e.err)
}

func (e *sectionError) Unwrap() []error { return []error{ErrState, e.err} }

// Local makes it a link.Local: it says nothing of the process at the other end, whatever it wraps.
func (*sectionError) Local() {}

// isSection reports whether err is what a callback did, whatever that wraps.
func isSection(err error) bool {
	var s *sectionError
	return errors.As(err, &s)
}
