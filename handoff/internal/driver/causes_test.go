package driver

import (
	"errors"
	"io"
	"io/fs"
	"testing"
)

// TestCauses: the first and the last two are kept, however many there were.
func TestCauses(t *testing.T) {
	err := also(io.EOF, fs.ErrExist)
	if got := err.Error(); got != "EOF; file already exists" {
		t.Error(got)
	}
	for range 1000 {
		err = also(err, fs.ErrInvalid)
	}
	err = also(err, fs.ErrClosed)
	if got := err.Error(); got != "EOF; invalid argument; file already closed" {
		t.Error(got)
	}
	for _, target := range []error{io.EOF, fs.ErrInvalid, fs.ErrClosed} {
		if !errors.Is(err, target) {
			t.Errorf("%v is lost", target)
		}
	}
}
