package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/segue-go/segue/handoff"
)

// alone is the handler of a generation in this process.
func alone(t *testing.T) (http.Handler, *upgrades) {
	t.Helper()
	gen, err := handoff.Join(t.Context(), handoff.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gen.Close() })
	up := new(upgrades)
	up.begun(context.Background(), gen, good)
	return handler(gen, up), up
}

// TestHandler: only this page presses the buttons.
func TestHandler(t *testing.T) {
	h, up := alone(t)
	up.busy = true // so that nothing begins
	for _, c := range []struct {
		name, method, target string
		header               string
		want                 int
		says                 string
	}{
		{"the page", "GET", "http://127.0.0.1:8087/", "", http.StatusOK, "<!DOCTYPE html>"},
		{"by name", "GET", "http://localhost:8087/tick", "", http.StatusOK, `"generation":`},
		{"by an IPv6 address", "GET", "http://[::1]:8087/state", "", http.StatusOK, `"handoffs":`},
		{"by a name of somebody else", "GET", "http://example.com:8087/tick", "", http.StatusForbidden, "localhost"},
		{"a button", "POST", "http://127.0.0.1:8087/upgrade/good", "Sec-Fetch-Site: same-origin", http.StatusConflict, errBusy.Error()},
		{"a command line", "POST", "http://127.0.0.1:8087/upgrade/good", "", http.StatusConflict, errBusy.Error()},
		{"a button of another page", "POST", "http://127.0.0.1:8087/upgrade/good", "Sec-Fetch-Site: cross-site", http.StatusForbidden, "cross-origin"},
		{"the same in an older browser", "POST", "http://127.0.0.1:8087/upgrade/good", "Origin: http://example.com", http.StatusForbidden, "cross-origin"},
		{"another port is another origin", "POST", "http://127.0.0.1:8087/upgrade/good", "Origin: http://127.0.0.1:80", http.StatusForbidden, "cross-origin"},
		{"a link", "GET", "http://127.0.0.1:8087/upgrade/good", "", http.StatusMethodNotAllowed, ""},
		{"a version that there is not", "POST", "http://127.0.0.1:8087/upgrade/best", "", http.StatusNotFound, ""},
	} {
		r := httptest.NewRequest(c.method, c.target, nil)
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %.200q, want %d and %q", c.name, w.Code, w.Body, c.want, c.says)
		}
	}
	up.busy = false
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "http://127.0.0.1:8087/upgrade/good", nil))
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "cannot upgrade now") {
		t.Errorf("before it serves: %d %q", w.Code, w.Body)
	}
}
