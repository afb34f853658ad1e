package integration

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// browserPage asks all the time, as a page that somebody looks at. Each token says what came before: how many answers
// failed, and the port from which the last answered request came.
const browserPage = `<!DOCTYPE html><title>segue</title><link rel="icon" href="data:,"><script>
async function ask() {
	let failed = 0, port = 'none';
	for (let n = 0; ; n++) {
		try {
			const answer = await fetch('/token?token=page-' + n + '-failed' + failed + '-port' + port + '.', {cache: 'no-store'});
			await answer.text();
			if (!answer.ok) failed++;
			port = answer.headers.get('X-Port');
		} catch (e) {
			failed++;
		}
		await new Promise(done => setTimeout(done, 10));
	}
}
ask();
</script>`

// chromium starts a browser without a window, which ends with the test. Without one the test is skipped, and fails in CI.
func chromium(t *testing.T, url string) (ended <-chan struct{}, output *strings.Builder) {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless_shell"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		const missing = "there is no Chromium (chromium, google-chrome or headless_shell in PATH); for example: apt-get install chromium"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	dir, err := os.MkdirTemp("", "segue-browser-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), program, "--headless", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-breakpad", "--user-data-dir="+dir,
		"--remote-debugging-port=0", url) // for which it stays until it is killed
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	output = new(strings.Builder)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // killed
	}()
	t.Cleanup(func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		<-done
		// Its processes end one after the other, and may write yet.
		for since := time.Now(); os.RemoveAll(dir) != nil && time.Since(since) < patience; time.Sleep(5 * time.Millisecond) {
		}
	})
	return done, output
}

// TestBrowser lets a page in a browser ask through upgrades: each answer comes, and nothing is connected anew.
func TestBrowser(t *testing.T) {
	t.Parallel()
	w, p := liveWorld(t, "tcp")
	ended, output := chromium(t, "http://"+w.addr+"/page")
	var old []*proc
	for i := range 5 {
		if i > 0 {
			old = append(old, p)
			p = w.take(ways[i%2], p, "http")
		}
		for since := time.Now(); w.handledBy(p.pid) < 5; time.Sleep(5 * time.Millisecond) {
			select {
			case <-ended:
				t.Fatalf("the browser has ended: %s", output)
			default:
			}
			if time.Since(since) > patience {
				t.Fatalf("the browser does not ask process %d", p.pid)
			}
		}
	}
	for _, o := range old {
		w.ended(o)
	}
	handled, err := os.ReadFile(w.conf.Handled)
	if err != nil {
		t.Fatal(err)
	}
	ports := make(map[string]int)
	for _, m := range regexp.MustCompile(`page-\d+-failed(\d+)-port(\w+)\.`).FindAllStringSubmatch(string(handled), -1) {
		if m[1] != "0" {
			t.Fatalf("%s requests of the page have failed by then: %s", m[1], m[0])
		}
		ports[m[2]]++
	}
	// A browser opens a second connection before it knows whether it needs one, but not one for each upgrade.
	if delete(ports, "none"); len(ports) == 0 || len(ports) > 2 {
		t.Errorf("the page used %d connections, by port: %v", len(ports), ports)
	}
}
