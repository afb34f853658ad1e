package integration

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

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
	err = serve.Run(ctx, p.gen, serve.HTTP(&http.Server{Handler: answers()}, ln))
	e.result("wait", err)
	if err != nil {
		return 1
	}
	return 0
}

func answers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.FormValue("token"))
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond) // what was asked for
		fmt.Fprintln(w, r.FormValue("token"))
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
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Segue-Pid", strconv.Itoa(os.Getpid()))
		mux.ServeHTTP(w, r)
	})
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
