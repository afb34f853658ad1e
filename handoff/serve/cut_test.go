package serve

import (
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		name       string
		phase      phase
		last       string // delivered before
		give, kept string
	}{
		{"two headers", idle, "", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"},
		{"the first", fresh, "", "GET / HTTP/1.0\r\n\r\n", "GET"},
		{"bare line breaks", idle, "", "GET / HTTP/1.0\n\n", "GET"},
		{"mixed", idle, "", "GET / HTTP/1.0\n\r\n", "GET"},
		{"no end", idle, "", "GET / HTTP/1.1\r\nHost: a\r\n", ""},
		{"no line", idle, "", "GET", ""},
		{"end in two reads", idle, "a\r\n", "\r\n", "GET / HTTP/1.1\r\n\r\n"},
		{"its last byte", idle, "\r\n\r", "\n", "GET / HTTP/1.1\r\n\r\n"},
		{"its last three", idle, "a: b\r", "\n\r\n", "GET / HTTP/1.1\r\n\r\n"},
		{"no empty line", idle, "a: b\r", "\nc: d\r\n\r\n", "GET"},
		{"body", active, "", "12345GET / HTTP/1.1", "\r\n\r\nGET"},
		{"body without a line break", active, "", "12345GET / HTTP/1.1", ""},
		{"body of one line", active, "", "\r", "\nGET"},
		{"body begins with a line break", active, "", "\n", "GET"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stand{phase: tt.phase}
			s.deliver([]byte(tt.last))
			if n := s.cut([]byte(tt.give + tt.kept)); n != len(tt.give) {
				t.Errorf("%q are delivered, want %q", (tt.give + tt.kept)[:n], tt.give)
			}
		})
	}
}

func TestComplete(t *testing.T) {
	long := strings.Repeat("GET / HTTP/1.1\r\n", 100)
	for in, want := range map[string]bool{
		"GET / HTTP/1.1\r\n\r\n":           true,
		"POST / HTTP/1.1\r\n\r\n12\r\n345": true,
		"\r\n\r\nGET / HTTP/1.1\r\nHost: ": false, // after a POST
		"\r\n\r\nGET / HTTP/1.1\r\n\r\n":   true,
		long:                               false,
		"G":                                false,
	} {
		if got := complete([]byte(in)); got != want {
			t.Errorf("%q: %t", in, got)
		}
	}
}
