package fdpass

import (
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawSendmsg sends what unix.Sendmsg would add a byte to.
func rawSendmsg(sock int, hdr *unix.Msghdr) error {
	_, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(sock), uintptr(unsafe.Pointer(hdr)), 0)
	runtime.KeepAlive(hdr)
	if errno != 0 {
		return errno
	}
	return nil
}

func cmsg(typ int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	hdr := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	hdr.Level, hdr.Type = unix.SOL_SOCKET, int32(typ)
	hdr.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func TestParseControl(t *testing.T) {
	errno := -int32(unix.ESRCH)
	minusESRCH := binary.NativeEndian.AppendUint32(nil, uint32(errno))
	for _, tt := range []struct {
		name    string
		control []byte
		fds     []int
		wantErr error
	}{
		{"nothing", nil, nil, nil},
		{"rights", unix.UnixRights(3, 4, 5), []int{3, 4, 5}, nil},
		{"rights twice", append(unix.UnixRights(3), unix.UnixRights(4)...), []int{3, 4}, nil},
		{"security label is passed over", append(cmsg(unix.SCM_SECURITY, []byte("label")), unix.UnixRights(3)...), []int{3}, nil},
		{"half a number", cmsg(unix.SCM_RIGHTS, []byte{3, 0, 0, 0, 9, 9}), []int{number([]byte{3, 0, 0, 0})}, errControl},
		{"short credentials", append(cmsg(unix.SCM_CREDENTIALS, []byte{1, 2}), unix.UnixRights(3)...), []int{3}, errControl},
		{"short pidfd", append(cmsg(unix.SCM_PIDFD, []byte{1, 2}), unix.UnixRights(3)...), []int{3}, errControl},
		{"negative pidfd", cmsg(unix.SCM_PIDFD, minusESRCH), nil, nil},
		{"tail", append(unix.UnixRights(3), 1, 2, 3), []int{3}, errControl},
		{"header too short", append(unix.UnixRights(3), make([]byte, unix.CmsgLen(0))...), []int{3}, errControl},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseControl(tt.control)
			if !errors.Is(err, tt.wantErr) || !slices.Equal(got.fds, tt.fds) {
				t.Errorf("got %v, %v; want %v, %v", got.fds, err, tt.fds, tt.wantErr)
			}
		})
	}
}

func parseControl(control []byte) (received, error) {
	var got received
	got.reset()
	err := got.parse(control)
	return got, err
}

// FuzzParseControl: no control data, however wrong, panics or invents descriptors; what is there is found.
func FuzzParseControl(f *testing.F) {
	f.Add(unix.UnixRights(3, 4, 5))
	f.Add(append(cmsg(unix.SCM_CREDENTIALS, make([]byte, 12)), cmsg(unix.SCM_PIDFD, make([]byte, 4))...))
	f.Add(make([]byte, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseControl(b)
		if len(got.fds) > len(b)/4 {
			t.Fatalf("%d descriptors in %d bytes", len(got.fds), len(b))
		}
		if err != nil || len(got.fds) == 0 {
			return
		}
		again, err := parseControl(unix.UnixRights(got.fds...))
		if err != nil || !slices.Equal(again.fds, got.fds) {
			t.Fatalf("got %v, %v; want %v", again.fds, err, got.fds)
		}
	})
}
