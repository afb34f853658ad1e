package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// maxValue bounds a value of the cache.
const maxValue = 1 << 20

// server is all there is to know.
type server struct {
	cache    *cache
	counters *counters
	limiter  *limiter
}

func (s *server) handler() http.Handler {
	pid := strconv.Itoa(os.Getpid())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pid", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, pid)
	})
	mux.HandleFunc("GET /cache/{key}", func(w http.ResponseWriter, r *http.Request) {
		value, ok := s.cache.get(r.PathValue("key"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(value) // if the client is gone, nobody misses it
	})
	mux.HandleFunc("PUT /cache/{key}", func(w http.ResponseWriter, r *http.Request) {
		value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.cache.put(r.PathValue("key"), value)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /cache/{key}", func(w http.ResponseWriter, r *http.Request) {
		s.cache.drop(r.PathValue("key"))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /count/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, s.counters.get(r.PathValue("name")))
	})
	mux.HandleFunc("POST /count/{name}", func(w http.ResponseWriter, r *http.Request) {
		n, ok := s.counters.add(r.PathValue("name"))
		if !ok {
			http.Error(w, "there are too many counters", http.StatusInsufficientStorage)
			return
		}
		fmt.Fprintln(w, n)
	})
	mux.HandleFunc("POST /allow/{client}", func(w http.ResponseWriter, r *http.Request) {
		if !s.limiter.allow(r.PathValue("client"), time.Now()) {
			http.Error(w, "not so fast", http.StatusTooManyRequests)
			return
		}
		fmt.Fprintln(w, "go ahead")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Segue-Pid", pid)
		mux.ServeHTTP(w, r)
	})
}
