package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
	"github.com/facebookgo/grace/gracehttp"
	"github.com/fvbock/endless"
	"github.com/jpillora/overseer"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
	"github.com/segue-go/segue/integration/load"
)

// A server is told what it is by its environment, which each library hands on to the next process.
const (
	roleEnv  = "SEGUE_PEERS_ROLE"
	addrEnv  = "SEGUE_PEERS_ADDRESS"
	dirEnv   = "SEGUE_PEERS_DIRECTORY"
	graceEnv = "SEGUE_PEERS_GRACE"
)

// errNotAsked is returned where this process is no server.
var errNotAsked = errors.New("not asked to serve")

// server is what a server is told.
type server struct {
	addr  string
	dir   string        // for its own use
	grace time.Duration // how long an old process may keep its connections
}

// role is the main function of a server.
type role func(server) error

// serveIfAsked serves, if this process was started to. Tests have roles of their own.
func serveIfAsked(more map[string]role) error {
	name := os.Getenv(roleEnv)
	if name == "" {
		return errNotAsked
	}
	grace, err := time.ParseDuration(os.Getenv(graceEnv))
	if err != nil {
		return err
	}
	s := server{addr: os.Getenv(addrEnv), dir: os.Getenv(dirEnv), grace: grace}
	r, ok := map[string]role{
		"segue": ofSegue, "tableflip": ofTableflip, "overseer": ofOverseer, "endless": ofEndless, "grace": ofGrace,
		"held socket":   func(s server) error { return manage(s, "activated", true) },
		"plain restart": func(s server) error { return manage(s, "plain", false) },
		"activated":     ofActivated, "plain": ofPlain,
	}[name]
	if !ok {
		if r, ok = more[name]; !ok {
			return fmt.Errorf("there is no server %q", name)
		}
	}
	return r(s)
}

// ofSegue is the program of segue's README.
func ofSegue(s server) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	gen, err := handoff.Join(ctx, handoff.Config{
		Path: filepath.Join(s.dir, "segue.sock"), Signals: []os.Signal{syscall.SIGHUP}, DrainTimeout: s.grace,
	})
	if err != nil {
		return err
	}
	ln, err := gen.Listen(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	return serve.Run(ctx, gen, serve.HTTP(&http.Server{Handler: load.Handler()}, ln))
}

// ofTableflip is tableflip's example of a graceful shutdown with net/http, to which its README refers.
func ofTableflip(s server) error {
	upg, err := tableflip.New(tableflip.Options{})
	if err != nil {
		return err
	}
	defer upg.Stop()
	go func() {
		sig := make(chan os.Signal, 1)
		signal.Notify(sig, syscall.SIGHUP)
		for range sig {
			if err := upg.Upgrade(); err != nil {
				fmt.Fprintln(os.Stderr, "upgrade failed:", err)
			}
		}
	}()
	ln, err := upg.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	srv := http.Server{Handler: load.Handler()}
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "HTTP server:", err)
		}
	}()
	if err := upg.Ready(); err != nil {
		return err
	}
	<-upg.Exit()
	time.AfterFunc(s.grace, func() { os.Exit(1) })
	return srv.Shutdown(context.Background())
}

// ofOverseer is the quick example of overseer's README, without a fetcher.
func ofOverseer(s server) error {
	return overseer.RunErr(overseer.Config{
		Address: s.addr, TerminateTimeout: s.grace, RestartSignal: syscall.SIGUSR2,
		Program: func(state overseer.State) { _ = http.Serve(state.Listener, load.Handler()) }, // ends when the listener does
	})
}

// ofEndless is the example of endless's README.
func ofEndless(s server) error {
	endless.DefaultHammerTime = s.grace
	return endless.ListenAndServe(s.addr, load.Handler())
}

// ofGrace is the demonstration to which grace's README refers. How long connections have is not to be set.
func ofGrace(s server) error {
	return gracehttp.Serve(&http.Server{Addr: s.addr, Handler: load.Handler()})
}

// ofActivated serves on the socket that its parent holds (sd_listen_fds(3)).
func ofActivated(s server) error {
	f := os.NewFile(3, "listener")
	ln, err := net.FileListener(f)
	if err != nil {
		return err
	}
	_ = f.Close() // the listener has its own
	return untilTerminated(s, ln)
}

// ofPlain binds its socket.
func ofPlain(s server) error {
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	return untilTerminated(s, ln)
}

// untilTerminated serves, and shuts down at SIGTERM as the documentation of net/http shows.
func untilTerminated(s server, ln net.Listener) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	srv := http.Server{Handler: load.Handler()}
	down := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.grace)
		defer cancel()
		down <- srv.Shutdown(ctx)
	})
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-down
}

// manage does what a service manager does: it starts a server and restarts it at SIGHUP, when the old one has ended. If it
// holds the listening socket, the server inherits that.
func manage(s server, name string, holds bool) error {
	sigs := make(chan os.Signal, 2)
	signal.Notify(sigs, syscall.SIGHUP, syscall.SIGTERM)
	var inherited []*os.File
	if holds {
		ln, err := net.Listen("tcp", s.addr)
		if err != nil {
			return err
		}
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		defer f.Close()
		_ = ln.Close() // f is the same socket
		inherited = []*os.File{f}
	}
	for {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), roleEnv+"="+name)
		cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = inherited, os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		sig := <-sigs
		_ = cmd.Process.Signal(syscall.SIGTERM) // one that has ended needs none
		if err := cmd.Wait(); err != nil {
			fmt.Fprintln(os.Stderr, name, "ended:", err)
		}
		if sig == syscall.SIGTERM {
			return nil
		}
	}
}
