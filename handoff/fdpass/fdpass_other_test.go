//go:build !linux

package fdpass

import (
	"errors"
	"testing"
)

func TestUnsupported(t *testing.T) {
	_, recv := Recv(nil, nil)
	_, try := TryRecv(nil, nil)
	for _, err := range []error{Send(nil, []byte("x")), recv, try, PassCred(nil, true)} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	}
}
