package process_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/integration/load"
)

const workers = 2 // of nginx

// nginx starts a master with its workers on addr.
func nginx(t *testing.T, as *syscall.Credential, addr, listenOptions string) *child {
	t.Helper()
	path := program(t, "apt-get install nginx-light", "/usr/sbin/nginx", "nginx")
	dir := workDir(t, as)
	conf := fmt.Sprintf(`
daemon off;
worker_processes %[4]d;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_timeout 60s;
	keepalive_requests 1000000;
	server {
		listen %[2]s %[3]s;
		add_header X-Segue-Pid $pid;
		location / { return 200 "nginx $arg_token\n"; }
	}
}
`, dir, addr, listenOptions, workers)
	file := filepath.Join(dir, "nginx.conf")
	must(t, os.WriteFile(file, []byte(conf), 0o644))
	c := start(t, as, exec.Command(path, "-p", dir, "-c", file, "-e", "stderr"))
	accepting(t, c, addr)
	return c
}

// TestNginx replaces an nginx under load by a Go server, and lets it drain what is its own.
func TestNginx(t *testing.T) {
	eachUser(t, func(t *testing.T, as *syscall.Credential) {
		addr := freeAddress(t)
		old := nginx(t, as, addr, "")
		replaceUnderLoad(t, as, old, settings{PID: old.pid(), Listen: []string{"tcp/" + addr}, Signal: syscall.SIGQUIT}, addr)
	})
}

// TestNginxGroup does so with a socket for each worker.
func TestNginxGroup(t *testing.T) {
	addr := freeAddress(t)
	old := nginx(t, nil, addr, "reuseport")
	replaceUnderLoad(t, nil, old, settings{PID: old.pid(), Listen: []string{"tcp/" + addr, "tcp/" + addr}, Signal: syscall.SIGQUIT}, addr)
}

func replaceUnderLoad(t *testing.T, as *syscall.Credential, old *child, c settings, addr string) {
	t.Helper()
	const kept = 4
	ctx, stop := context.WithCancel(bounded(t))
	defer stop()
	var res *load.Result
	var loadErr error
	var loading sync.WaitGroup
	dialer := new(load.Dialer)
	// A client of those that connect anew has one request at a time, so all before are answered.
	const clients = 4
	more := func(n int) {
		t.Helper()
		enough := dialer.Dials() + clients + kept + n
		until(t, "requests are made", func() bool { return dialer.Dials() >= enough })
	}
	loading.Go(func() {
		res, loadErr = load.Run(ctx, load.Options{Address: addr, New: clients, Kept: kept, Pace: 4 * time.Millisecond, Dialer: dialer})
	})
	more(50)
	next := server(t, as, c)
	next.line("serving")
	serving := time.Now()
	if err := old.wait(); err != nil {
		t.Errorf("nginx ended with %v", err)
	}
	more(50)
	stop()
	loading.Wait()
	must(t, loadErr)

	// nginx closes what idles on kept-alive connections when it is told to quit, which is its own way to drain, and a
	// request may cross that: once per client and worker at most, since a client may come back to the one that quits later,
	// never before, and never on a new one.
	crossed := 0
	own := res.Excuse(func(f load.Failure) bool {
		its := f.Kind == load.Kept && f.Answered > 0 && f.PID != next.pid() && f.At.After(serving) && f.Dropped()
		if its && !f.Forced {
			crossed++
		}
		return its
	})
	if own > kept*workers {
		t.Errorf("%d kept-alive connections of %d clients were closed", own, kept)
	}
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	byOld, byNew := 0, 0
	for _, k := range res.Kinds {
		for s := range k.Samples() {
			switch {
			case s.PID == next.pid():
				byNew++
			case s.PID != 0:
				byOld++
			}
		}
	}
	t.Logf("%d requests were answered by nginx, %d by Go; nginx closed %d kept-alive connections, %d of them with a request on its way",
		byOld, byNew, own, crossed)
	if byOld == 0 || byNew == 0 {
		t.Error("one of them has answered nothing")
	}
	must(t, next.cmd.Process.Signal(syscall.SIGTERM))
	if err := next.wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// TestNginxListed finds the sockets of a master and its workers, each once.
func TestNginxListed(t *testing.T) {
	addr := freeAddress(t)
	old := nginx(t, nil, addr, "reuseport")
	p, err := process.Open(old.pid())
	must(t, err)
	defer p.Close()
	ctx := bounded(t)
	all, err := p.List(ctx)
	must(t, err)
	// nginx listens before it has forked all of its workers.
	for tick := time.Tick(10 * time.Millisecond); len(all) == 2 && len(all[1].Holders) != 3 && ctx.Err() == nil; <-tick {
		all, err = p.List(ctx)
		must(t, err)
	}
	if len(all) != 2 {
		t.Fatalf("found %v, not a socket for each of two workers", all)
	}
	for _, s := range all {
		if s.Network != "tcp" || s.Address != addr || !s.Listening || !s.ReusePort || !s.Detailed || s.MPTCP || len(s.Holders) != 3 ||
			s.Holders[0].PID != old.pid() || s.Holders[0].Command != "nginx" {
			t.Errorf("found %+v", s)
		}
	}
	if all[0].Cookie == all[1].Cookie {
		t.Errorf("found one twice: %+v", all)
	}
}

// TestNginxPartOfGroup takes one of two sockets, and wants the other one kept alive.
func TestNginxPartOfGroup(t *testing.T) {
	addr := freeAddress(t)
	old := nginx(t, nil, addr, "reuseport")
	next := server(t, nil, settings{PID: old.pid(), Listen: []string{"tcp/" + addr}, Signal: syscall.SIGQUIT})
	next.line("serving")
	why := next.line("time=")
	for !strings.Contains(why, "the process was not told") {
		why = next.line("time=")
	}
	if !strings.Contains(why, "1 more sockets of process "+strconv.Itoa(old.pid())) {
		t.Errorf("logged %s", why)
	}
	select {
	case <-old.done:
		t.Error("nginx was told to quit")
	default:
	}
	must(t, next.cmd.Process.Signal(syscall.SIGTERM))
	_ = next.line("source: process: 1 more sockets")
	must(t, next.wait())
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	_ = conn.Close()
}
