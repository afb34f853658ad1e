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
			c := &tracked{stand: stand{phase: tt.phase}}
			c.stand.deliver([]byte(tt.last))
			if n := c.ends([]byte(tt.give + tt.kept)); n != len(tt.give) {
				t.Errorf("%q are delivered, want %q", (tt.give + tt.kept)[:n], tt.give)
			}
		})
	}
}

// What is known of a header after the first Read that brings some of it.
func TestRecordBegins(t *testing.T) {
	long := strings.Repeat("GET / HTTP/1.1\r\n", 100)
	for _, tt := range []struct {
		name, give string
		on, next   bool
		buf        string
	}{
		{"nothing else", "GET / HTTP/1.1\r\n\r\n", false, false, ""},
		{"a body", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n12\r\n345", false, false, ""},
		{"no end", long, true, false, long},
		{"one byte", "G", true, false, "G"},
		{"after a POST", "\r\n\r\nGET / HTTP/1.1\r\nHost: ", true, false, "\r\n\r\nGET / HTTP/1.1\r\nHost: "},
		{"after a POST, complete", "\r\n\r\nGET / HTTP/1.1\r\n\r\n", false, false, ""},
		{"another", "GET / HTTP/1.1\r\n\r\nGET /2", false, true, "GET /2"},
		{"a third", "HEAD / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nPOST /3", false, true, "POST /3"},
		{"another with lines", "GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nHo", false, true, "GET /2 HTTP/1.1\r\nHo"},
		{"another after a body", "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n1GET /2", false, false, ""},
		{"a body in between", "GET / HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\ncontent-length : 1\r\n\r\n1\r\n\r\nGET /2", false, false, ""},
		{"chunks", "GET / HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1", false, false, ""},
		{"a body of GET", "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n1GET /2", false, false, ""},
		{"bare line breaks", "GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.0\n\nGET /3", false, false, ""},
		{"mixed line breaks", "GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.0\n\r\nGET /3", false, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r record
			s := new(stand)
			r.begin(s, bufferSize)
			r.add(s, []byte(tt.give))
			if r.on != tt.on || r.ahead != tt.next || string(r.buf) != tt.buf {
				t.Errorf("%+v, %q, want %+v", r, r.buf, tt)
			}
		})
	}
}
