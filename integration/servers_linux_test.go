package integration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/serve"
)

// roleHTTP is an HTTP server, by serve.Run, with the answers that package load expects.
func roleHTTP(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	p, code := begin(ctx, c, e)
	if p == nil {
		return code
	}
	defer p.end()
	network, address, _ := strings.Cut(c.Listen[0], "/")
	ln, err := p.gen.Listen(ctx, network, address)
	if err != nil {
		e.result("listen", err)
		return 1
	}
	handler, err := answers(c.Handled)
	if err != nil {
		e.result("listen", err)
		return 1
	}
	if c.Counted {
		if handler, err = counted(p.gen, handler, c.Revival); err != nil {
			e.result("state", err)
			return 1
		}
	}
	if c.Metrics {
		handler = measured(p.gen, handler)
	}
	s := &http.Server{Handler: handler, IdleTimeout: c.IdleTimeout, ReadHeaderTimeout: c.ReadHeaderTimeout}
	if c.WaitHijacked != 0 {
		s.ErrorLog = slog.NewLogLogger(e.logger().Handler(), slog.LevelWarn)
	}
	servers := []serve.Server{serve.HTTP(s, ln).Spread(0).WaitHijacked(c.WaitHijacked)}
	if c.USR1 == "server" {
		servers = append(servers, serve.Func(nil, func(net.Listener) error {
			select {
			case <-p.hold:
			case <-p.gen.Released():
			}
			return errors.New("told to fail")
		}, nil))
	}
	err = serve.Run(ctx, p.gen, servers...)
	e.result("wait", err)
	if err != nil {
		return 1
	}
	return 0
}

// answers is what packages load and raw ask for. Each token is written to the file handled, if there is one, before
// anything else is done.
func answers(handled string) (http.Handler, error) {
	log := -1
	if handled != "" {
		var err error
		if log, err = unix.Open(handled, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600); err != nil {
			return nil, fmt.Errorf("open %s: %w", handled, err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /token", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /slow", func(_ http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond) // what was asked for
	})
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, browserPage)
	})
	mux.HandleFunc("GET /until", func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(r.FormValue("gate")) // a FIFO: this takes until somebody has it open for writing
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = f.Close()
	})
	mux.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d %x\n", n, sum.Sum(nil))
	})
	mux.HandleFunc("GET /tunnel", func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
	mux.HandleFunc("POST /unread", func(http.ResponseWriter, *http.Request) {})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.URL.Query().Get("token")
		if log >= 0 {
			// One write(2), so that those of several processes do not mix.
			if _, err := unix.Write(log, fmt.Appendln(nil, token, os.Getpid())); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		w.Header().Set("X-Token", token)
		w.Header().Set("X-Segue-Pid", strconv.Itoa(os.Getpid()))
		w.Header().Set("X-Port", r.RemoteAddr[strings.LastIndexByte(r.RemoteAddr, ':')+1:])
		mux.ServeHTTP(w, r)
		if r.Method != http.MethodHead {
			fmt.Fprintln(w, token)
		}
	}), nil
}

// counted counts requests, as a section of the generation's state. A request that takes its time counts when its answer is
// ready.
func counted(gen *handoff.Generation, next http.Handler, revival string) (http.Handler, error) {
	var n atomic.Int64
	s := handoff.Section{
		Save: func(_ context.Context, w io.Writer) error {
			_, err := fmt.Fprintln(w, n.Load())
			return err
		},
		Restore: func(_ context.Context, r *io.SectionReader) error {
			var before int64
			_, err := fmt.Fscan(r, &before)
			n.Store(before)
			return err
		},
	}
	if revival == "keep" {
		s.Revival = handoff.RevivalKeep
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/count" {
			w.Header().Set("X-Token", r.URL.Query().Get("token"))
			w.Header().Set("X-Segue-Pid", strconv.Itoa(os.Getpid()))
			w.Header().Set("X-Count", strconv.FormatInt(n.Load(), 10))
			return
		}
		next.ServeHTTP(w, r)
		n.Add(1)
	}), gen.State("count", s)
}

// roleUDP answers each datagram with its process id and what it has read.
func roleUDP(c conf, e *emitter) int {
	ctx, stop := operator(c)
	defer stop()
	p, code := begin(ctx, c, e)
	if p == nil {
		return code
	}
	defer p.end()
	network, address, _ := strings.Cut(c.Listen[0], "/")
	pc, err := p.gen.ListenPacket(ctx, network, address)
	if err != nil {
		e.result("listen", err)
		return 1
	}
	p.wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(fmt.Appendf(nil, "%d %s", os.Getpid(), buf[:n]), from)
		}
	})
	err = p.gen.Ready(ctx)
	e.result("ready", err)
	if err != nil {
		return 1
	}
	err = p.gen.Wait(ctx, nil)
	e.result("wait", err)
	if err != nil && ctx.Err() == nil {
		return 1
	}
	return 0
}
