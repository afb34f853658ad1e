package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRunNode replaces a server in Node under load.
func TestRunNode(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		skip(t, "node")
	}
	addr := freeAddr(t)
	s := supervised(t, nil, nil, "--listen", addr, "--ready", "http:/token", "--", "node", "testdata/server.js")
	s.addr = addr
	s.replaced()
}

// TestRunNginx replaces nginx under load. It knows its sockets by a variable of its own, and drains at SIGQUIT.
func TestRunNginx(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		skip(t, "nginx")
	}
	addr, dir := freeAddr(t), t.TempDir()
	conf := filepath.Join(dir, "conf")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, `daemon off; pid %s/pid; error_log stderr; worker_processes 1;
events { worker_connections 64; }
http {
	access_log off; keepalive_timeout 0;
	server { listen %s; location / { add_header X-Segue-Pid $pid; return 200 "$arg_token"; } }
}
`, dir, addr), 0o600))
	s := supervised(t, nil, []string{"NGINX=3;"}, "--listen", addr, "--ready", "http:/", "--drain-signal", "QUIT", "--", "nginx", "-c", conf)
	s.addr = addr
	s.replaced()
}

// replaced replaces the server three times under the load of clients that make new connections.
func (s *supervisor) replaced() {
	s.t.Helper()
	s.has("msg=serving", 1)
	first := s.asks()
	s.loaded(0, func() {
		for i := range 3 {
			s.signal(unix.SIGHUP)
			s.has("msg=serving", 2+i)
			s.has("a process has drained", 1+i)
		}
	})
	if now := s.asks(); now == first || now == 0 {
		s.t.Errorf("process %d serves, and %d did at first", now, first)
	}
}
