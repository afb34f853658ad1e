package process_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"syscall"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/process"
	"github.com/segue-go/segue/handoff/serve"
)

// nginxPID stands for the number in nginx's PID file.
func nginxPID() int { return 4711 }

// A server's first start takes over from nginx, which then finishes what it is doing and ends. Later generations inherit
// from the first, and do not care that nginx is gone.
func ExampleSockets() {
	ctx := context.Background()
	src := process.Sockets(nginxPID(), process.Options{Signal: syscall.SIGQUIT, MayBeGone: true})
	defer src.Close()
	gen, err := handoff.Join(ctx, handoff.Config{Path: "/run/app/segue.sock", Sources: []handoff.Source{src}})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := gen.Listen(ctx, "tcp", ":80") // nginx's socket
	if err != nil {
		log.Fatal(err)
	}
	if err := serve.Run(ctx, gen, serve.HTTP(&http.Server{}, ln)); err != nil {
		log.Fatal(err)
	}
}

// With "listen 80 reuseport", nginx has a socket for each of its workers, and all of them have to be taken.
func ExampleSource_List() {
	ctx := context.Background()
	src := process.Sockets(nginxPID(), process.Options{Signal: syscall.SIGQUIT})
	defer src.Close()
	gen, err := handoff.Join(ctx, handoff.Config{Sources: []handoff.Source{src}})
	if err != nil {
		log.Fatal(err)
	}
	all, err := src.List(ctx)
	if err != nil {
		log.Fatal(err)
	}
	group, err := process.Match(ctx, all, "tcp", ":80")
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{}
	var servers []serve.Server
	for range group {
		ln, err := gen.Listen(ctx, "tcp", ":80")
		if err != nil {
			log.Fatal(err)
		}
		servers = append(servers, serve.HTTP(srv, ln))
	}
	if err := serve.Run(ctx, gen, servers...); err != nil {
		log.Fatal(err)
	}
}

func ExampleMatch() {
	all := []process.Socket{
		{Network: "tcp", Address: "0.0.0.0:80"},
		{Network: "tcp", Address: "[::]:80"},
		{Network: "tcp", Address: "127.0.0.1:8080"},
	}
	for _, address := range []string{":80", "0.0.0.0:80", "127.0.0.1:8080"} {
		found, err := process.Match(context.Background(), all, "tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(address, len(found))
	}
	// Output:
	// :80 2
	// 0.0.0.0:80 1
	// 127.0.0.1:8080 1
}

func ExampleAll() {
	all, refused, err := process.All(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range all {
		fmt.Println(s)
	}
	if refused > 0 {
		fmt.Println("and those of", refused, "processes that only root may look at")
	}
}

// The steps that a Source takes, one by one.
func ExampleProcess_Take() {
	ctx := context.Background()
	p, err := process.Open(nginxPID())
	if errors.Is(err, process.ErrGone) {
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	all, err := p.List(ctx)
	if err != nil {
		log.Fatal(err) // a process.ErrRefused says why, and what to do
	}
	for _, s := range all {
		fd, err := p.Take(s)
		if err != nil {
			log.Fatal(err)
		}
		defer fd.Close()
	}
	// ... serve from them, and then:
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		log.Fatal(err)
	}
}

// A program that drops what it is doing at SIGTERM gets it when it is doing nothing.
func ExampleProcess_SignalIdle() {
	p, err := process.Open(4711)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(context.Background()) // or with a deadline, after which it is not worth the while
	defer cancel()
	all, err := p.List(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := p.SignalIdle(ctx, syscall.SIGTERM, all...); err != nil {
		log.Fatal(err)
	}
}
