package main

import (
	"strings"
	"testing"
)

func TestParseListen(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want listenArg
		bad  string
	}{
		{in: ":80", want: listenArg{"tcp-80", "tcp", ":80"}},
		{in: "127.0.0.1:http", want: listenArg{"tcp-http", "tcp", "127.0.0.1:http"}},
		{in: "[::1]:80", want: listenArg{"tcp-80", "tcp", "[::1]:80"}},
		{in: "udp/:53", want: listenArg{"udp-53", "udp", ":53"}},
		{in: "tcp6/[::]:80", want: listenArg{"tcp6-80", "tcp6", "[::]:80"}},
		{in: "/run/app.sock", want: listenArg{"unix-app.sock", "unix", "/run/app.sock"}},
		{in: "@name", want: listenArg{"unix-@name", "unix", "@name"}},
		{in: "unixgram//run/a:b", want: listenArg{"unixgram-a_b", "unixgram", "/run/a:b"}},
		{in: "unix/rel/path", want: listenArg{"unix-path", "unix", "rel/path"}},
		{in: "web=:80", want: listenArg{"web", "tcp", ":80"}},
		{in: "web=udp/:80", want: listenArg{"web", "udp", ":80"}},
		{in: "/run/a=b", want: listenArg{"unix-a=b", "unix", "/run/a=b"}},
		{in: "", bad: "no address"},
		{in: "80", bad: "say :80"},
		{in: "=:80", bad: "a name has"},
		{in: "a\nb=:80", bad: "a name has"},
		{in: "ü=:80", bad: "a name has"},
		{in: "unix/", bad: "no address"},
		{in: "web=", bad: "no address"},
		{in: "foo/:80", bad: `no network "foo"`},
		{in: "run/app.sock", bad: "with unix/"},
		{in: "1.2.3.4", bad: "say for example 1.2.3.4:80"},
		{in: "web=host", bad: "say for example host:80"},
		{in: "[::1]", bad: "say for example [::1]:80"},
		{in: "::1", bad: "say for example [::1]:80"},
		{in: "127.0.0.1:", bad: "after the colon"},
		{in: ":65536", bad: `no port "65536"`},
		{in: "udp/:no-such-service", bad: `no port "no-such-service"`},
		{in: "[::1:80", bad: "that is no address"},
	} {
		got, err := parseListen(tt.in)
		if tt.bad != "" {
			if err == nil || !strings.Contains(err.Error(), tt.bad) {
				t.Errorf("%q: %v; want %s", tt.in, err, tt.bad)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%q is %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}
