package integration

import (
	"bytes"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/segue-go/segue/integration/raw"
)

// TestCountIsExact upgrades ten times while clients ask in all ways, with a number of requests that moves as state: it is
// that of the requests that were handled, none lost and none doubled.
func TestCountIsExact(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "http")
			w.conf.Handled, w.conf.Counted = w.dir+"/handled", true
			w.conf.DrainTimeout = time.Minute
			if network == "unix" {
				w.addr = w.dir + "/http"
				w.conf.Listen = []string{"unix/" + w.addr}
			}
			p := w.firstHTTP()
			run := w.asked(raw.Options{Clients: 2, Pace: 50 * time.Millisecond})
			busy(t, run, 100)
			var old []*proc
			for i := range 10 {
				old = append(old, p)
				p = w.take(ways[i%2], p, "http")
				run.Upgraded()
				busy(t, run, 100)
			}
			for _, o := range old {
				w.ended(o)
			}
			run.Stop()
			res := run.Wait()
			if err := res.Err(); err != nil {
				t.Error(err)
			}
			w.handledOnce(res)
			k := w.connect(0)
			if err := k.send("/count?"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(k.br, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			handled, err := os.ReadFile(w.conf.Handled)
			if err != nil {
				t.Fatal(err)
			}
			if want := bytes.Count(handled, []byte("\n")); resp.Header.Get("X-Count") != strconv.Itoa(want) {
				t.Errorf("%s requests are counted, and %d were handled", resp.Header.Get("X-Count"), want)
			}
		})
	}
}
