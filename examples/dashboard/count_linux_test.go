package main

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
)

// TestCounts: the page counts a request that fails, and a connection that is closed, once each. Otherwise its zeros would say
// nothing.
func TestCounts(t *testing.T) {
	h, _ := alone(t)
	var ticks atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/tick" {
			switch ticks.Add(1) {
			case 10:
				http.Error(w, "on purpose", http.StatusInternalServerError)
				return
			case 20:
				w.Header().Set("Connection", "close")
			}
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	b := open(t, srv.URL)
	s := b.until("50 answers", func(s shows) bool {
		n, err := strconv.Atoi(s.Answers)
		return err == nil && n >= 50
	})
	if s.Failed != "1" || s.Reconnects != "1" {
		t.Errorf("%s failed, %s reconnects, want 1 and 1", s.Failed, s.Reconnects)
	}
	if s.Message != "Status 500: on purpose" {
		t.Errorf("the page says %q", s.Message)
	}
}
