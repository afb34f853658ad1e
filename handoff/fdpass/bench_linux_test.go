package fdpass

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors to this process itself and back; integration/fdbench compares this with C, and the other ways too.
func BenchmarkSendAll(b *testing.B) {
	for _, n := range []int{1, MaxFDs} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var t testing.T
			fds := sockets(&t, n)
			x, y := pair(&t, unix.SOCK_SEQPACKET)
			defer x.Close()
			defer y.Close()
			if err := errors.Join(x.SetDeadline(time.Time{}), y.SetDeadline(time.Time{})); err != nil {
				b.Fatal(err)
			}
			payload, buf := make([]byte, 1), make([]byte, 16)
			b.ReportAllocs()
			for b.Loop() {
				if err := SendAll(x, payload, fds); err != nil {
					b.Fatal(err)
				}
				m, err := RecvAll(y, buf, n)
				if err != nil {
					b.Fatal(err)
				}
				m.Close()
			}
			for _, fd := range fds {
				fd.Close()
			}
		})
	}
}
