package main

import (
	_ "embed"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/timeline"
)

//go:embed page.html
var page []byte

// policy lets the page run what is in it, and ask this server. Nobody may put it into a frame, and have somebody press a button
// without seeing it.
const policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// shown is how many handoffs the page shows.
const shown = 8

// answer says who has answered, and on which connection.
type answer struct {
	Generation int    `json:"generation"`
	PID        int    `json:"pid"`
	Port       string `json:"port"` // of the client, as this process sees it: another one is another connection
}

// state is what the page asks for twice a second.
type state struct {
	answer
	Now         time.Time             `json:"now"`
	Total       int                   `json:"total"`    // handoffs that are known
	Handoffs    []timeline.Handoff    `json:"handoffs"` // the last ones, the newest first
	Generations []timeline.Generation `json:"generations"`
}

// handler answers the page.
func handler(gen *handoff.Generation, up *upgrades) http.Handler {
	number := gen.Status().Generation
	who := func(r *http.Request) answer {
		up.answered.Add(1)
		_, port, _ := net.SplitHostPort(r.RemoteAddr) // net/http's
		return answer{Generation: number, PID: os.Getpid(), Port: port}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = w.Write(page) // or the client is gone
	})
	mux.HandleFunc("GET /tick", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, who(r))
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, r *http.Request) {
		all := gen.History()
		s := state{answer: who(r), Now: time.Now(), Total: len(all), Generations: gen.Chain().Generations}
		s.Handoffs = slices.Clone(all[max(0, len(all)-shown):])
		slices.Reverse(s.Handoffs)
		reply(w, http.StatusOK, s)
	})
	mux.HandleFunc("POST /upgrade/{version}", func(w http.ResponseWriter, r *http.Request) {
		v := version(r.PathValue("version"))
		if !slices.Contains([]version{good, broken, killed, unwell}, v) {
			http.NotFound(w, r)
			return
		}
		if err := up.begin(v); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		reply(w, http.StatusAccepted, who(r))
	})
	return direct(http.NewCrossOriginProtection().Handler(mux))
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // or the client is gone
}

// direct refuses names other than localhost. A page of somebody else can have its own name lead to this address ("DNS
// rebinding"), and is of the same origin then; an address cannot be had.
func direct(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := url.URL{Host: r.Host} // Hostname knows of ports and brackets
		if name := u.Hostname(); name != "localhost" && net.ParseIP(name) == nil {
			http.Error(w, "please use localhost or an IP address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
