package serve_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// A job that may run in one process only, and a lock that shows that it does.
func ExampleWorker() {
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	work := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			f, err := os.Create(filepath.Join(dir, "lock"))
			if err != nil {
				return err
			}
			defer f.Close()
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
				return err
			}
			fmt.Println(name, "begins")
			<-ctx.Done() // a program does its work until then
			fmt.Println(name, "ends")
			return unix.Flock(int(f.Fd()), unix.LOCK_UN)
		}
	}
	start := func(ctx context.Context, name string) (owns <-chan struct{}, ended <-chan error) {
		o, e := make(chan struct{}), make(chan error, 1)
		gen, err := handoff.Join(ctx, handoff.Config{Path: filepath.Join(dir, "segue.sock"), Guard: 50 * time.Millisecond})
		if err != nil {
			e <- err
			return o, e
		}
		ln, err := gen.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			e <- err
			return o, e
		}
		w := work(name)
		go func() {
			e <- serve.Run(ctx, gen, serve.HTTP(&http.Server{}, ln),
				serve.Worker(func(ctx context.Context) error { close(o); return w(ctx) }))
		}()
		return o, e
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	owns, first := start(ctx, "the first")
	<-owns
	owns, second := start(ctx, "the second")
	<-owns
	fmt.Println("the first is done:", <-first)
	stop()
	fmt.Println("the second is done:", <-second)
	// Output:
	// the first begins
	// the first ends
	// the second begins
	// the first is done: <nil>
	// the second ends
	// the second is done: <nil>
}
