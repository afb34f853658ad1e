package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/segue-go/segue/handoff"
	"github.com/segue-go/segue/handoff/metrics"
)

// measured shows metrics beside what handler answers.
func measured(gen *handoff.Generation, handler http.Handler) http.Handler {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(metrics.New(gen))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	mux.Handle("/", handler)
	return mux
}

// scraper is a Prometheus that scrapes one server.
type scraper struct {
	t    *testing.T
	addr string
}

// prometheusOf starts Prometheus for the server at target; it ends with the test.
func prometheusOf(t *testing.T, target string) *scraper {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("prometheus is not installed; for example: apt-get install prometheus")
		}
		t.Skip("needs prometheus; for example: apt-get install prometheus")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(`{"global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
		"scrape_configs": [{"job_name": "segue", "static_configs": [{"targets": [%q]}]}]}`, target)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a port for Prometheus, which does not say which it got
	if err != nil {
		t.Fatal(err)
	}
	s := &scraper{t: t, addr: ln.Addr().String()}
	_ = ln.Close()
	cmd := exec.CommandContext(context.Background(), program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+s.addr, "--log.level=error")
	log := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGKILL)
		_ = cmd.Wait() // killed
		if t.Failed() && log.Len() > 0 {
			t.Log(log)
		}
	})
	return s
}

// ask returns the value of each series that a query answers with, or false, if Prometheus does not answer (yet).
func (s *scraper) ask(query string) (values []float64, ok bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, false // it starts
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable {
		return nil, false // it starts
	}
	var answer struct {
		Status, Error string
		Data          struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		s.t.Fatalf("%s: %v %s %s", query, err, answer.Status, answer.Error)
	}
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			s.t.Fatalf("%s: %v", query, err)
		}
		values = append(values, v)
	}
	return values, true
}

// becomes waits until a query of one series has this value.
func (s *scraper) becomes(query string, want float64) {
	s.t.Helper()
	var last []float64
	for since := time.Now(); time.Since(since) < patience; time.Sleep(20 * time.Millisecond) {
		if last, _ = s.ask(query); len(last) == 1 && last[0] == want {
			return
		}
	}
	s.t.Fatalf("%s is %v, not %v", query, last, want)
}

// is wants a query of one series to have about this value: increase() extrapolates to the ends of its range.
func (s *scraper) is(query string, want float64) {
	s.t.Helper()
	if got, ok := s.ask(query); !ok || len(got) != 1 || math.Round(got[0]) != want {
		s.t.Errorf("%s is %v, not %v", query, got, want)
	}
}

// TestPrometheus scrapes a server through ten upgrades, one that fails and a revival, and asks what Prometheus makes of it.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "http")
	w.conf.Metrics = true
	p := w.firstHTTP()
	s := prometheusOf(t, w.addr)
	s.becomes("segue_generation", 1)

	const done = `segue_handoffs_total{role="incumbent",result="done"}`
	for n := range 10 {
		p = w.take(ways[n%2], p, "http")
		s.becomes("segue_generation", float64(n+2))
		s.becomes(done, float64(n+1))
	}
	w.conf.Start = "exit3"
	mark := w.mark()
	w.upgrade(p)
	w.wait(mark, p.pid, "upgrade", "")
	s.becomes(`segue_handoffs_total{role="incumbent",result="failed"}`, 1)

	// A successor that confirms and dies: what it had counted is gone, and the revived one counts from 0.
	w.conf.Start, w.conf.USR1, w.conf.Guard = "", "exit4", time.Minute
	p = w.take("join", p, "http")
	s.becomes("segue_generation", 12)
	s.becomes(done, 11)
	c := w.take("upgrade", p, "http")
	s.becomes("segue_generation", 13)
	s.becomes(done, 12)
	mark = w.mark()
	w.signal(c, unix.SIGUSR1)
	w.wait(mark, p.pid, "phase", "serving")
	s.becomes("segue_generation", 12)
	s.becomes(done, 0)
	s.becomes(`sum(segue_handoffs_undone_total{result="revived"})`, 1)
	s.becomes(`segue_handoffs_undone_total{result="revived"} > 0`, 1)
	w.conf.USR1, w.conf.Guard = "", 100*time.Millisecond
	w.take("upgrade", p, "http")
	s.becomes(done, 1)
	s.becomes(`segue_generations{phase="draining"}`, 1) // in its guard of a minute

	// What increase() tells: twelve handoffs were done, of which one was revived, and one followed.
	s.is("increase("+done+"[10m])", 13)
	s.is(`increase(segue_handoffs_total{role="incumbent",result="failed"}[10m])`, 1)
	s.is(`sum(increase(segue_handoffs_undone_total[10m]))`, 1)
	s.is(`resets(`+done+`[10m])`, 1)
	s.is("sum(increase(segue_sockets_moved_total{kind=\"listener\"}[10m]))", 13)
	s.is("increase(segue_handoff_accept_gap_seconds_count[10m])", 13)
	// No scrape failed, and none came back without the figures.
	s.is("min_over_time(up[10m])", 1)
	scrapes, _ := s.ask("count_over_time(up[10m])")
	if figures, _ := s.ask("sum(count_over_time(segue_handoff_last_success_timestamp_seconds[10m]))"); len(scrapes) != 1 || len(figures) != 1 || scrapes[0] != figures[0] {
		t.Errorf("%v scrapes, %v with figures", scrapes, figures)
	}
	if rss, ok := s.ask("max_over_time(segue_descriptors[10m]) < 200"); !ok || len(rss) != 1 {
		t.Errorf("descriptors: %v", rss)
	}
}
