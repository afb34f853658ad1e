package serve

import (
	"bytes"
	"strings"
	"testing"
)

func TestPositionErrors(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"version", "\x02\x04", "version 2 is unknown"},
		{"no flags", "\x01", "cut short"},
		{"leniency", "\x01\x05", "flags 0x5 are unknown"},
		{"flags", "\x01\x10", "flags 0x10 are unknown"},
		{"idle", "\x01\x04GETX", "4 bytes read ahead are too many"},
		{"begun", "\x01\x08" + strings.Repeat("x", maxRecord+1), "16385 bytes read ahead are too many"},
		{"usual", "\x01\x04", "says nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p, err := decodePosition([]byte(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, error %v, want %q", p, err, tt.want)
			}
		})
	}
}

func FuzzPosition(f *testing.F) {
	for _, p := range []position{
		{leniency: leniency},
		{begun: true},
		{leniency: 1, ahead: []byte("GET")},
		{begun: true, leniency: leniency, ahead: []byte("GET / HTTP/1.1\r\nHo")},
		{begun: true, ahead: bytes.Repeat([]byte("x"), maxRecord)},
	} {
		f.Add(p.encode())
	}
	f.Add([]byte{positionVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		p, err := decodePosition(b)
		if err != nil {
			return
		}
		clear(b)
		if got := p.encode(); !bytes.Equal(got, given) {
			t.Errorf("%q is %+v, which is encoded as %q", given, p, got)
		}
		if len(p.ahead) >= peekSize && !p.begun || len(p.ahead) > maxRecord || p.leniency > leniency {
			t.Errorf("%q is %+v", given, p)
		}
	})
}
