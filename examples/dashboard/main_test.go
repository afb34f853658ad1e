//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/segue-go/segue/examples/internal/chain"
	"github.com/segue-go/segue/integration/leak"
)

var (
	picture = flag.String("picture", "", "write a picture of the page to this `file`")
	scheme  = flag.String("scheme", "light", "the colours of the picture: light or dark")
)

// patience bounds every wait.
const patience = time.Minute

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// A browser is Chromium without a window, which shows the page.
type browser struct {
	*testing.T
	ctx context.Context
	url string
}

// open starts a browser, which ends with the test.
func open(t *testing.T, url string) *browser {
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
	ctx, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(dir), chromedp.Env("TMPDIR="+dir), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WindowSize(1220, 1240),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with all that it has started
		}))...)
	ctx, leave := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		leave()
		end()
		// Its processes end one after the other, and may write yet.
		for since := time.Now(); os.RemoveAll(dir) != nil && time.Since(since) < patience; time.Sleep(5 * time.Millisecond) {
		}
	})
	b := &browser{T: t, ctx: ctx, url: url}
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil { // without a deadline, since the browser lives as long as this context
		t.Fatal(err)
	}
	return b
}

// do does something in the browser, and returns what comes of it.
func do[T any](b *browser, what chromedp.Action[T]) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, what)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// shows is what somebody reads who looks at the page.
type shows struct {
	Who, Port, Answers, Failed, Reconnects, Message, Legend string

	Enabled     int   // buttons
	Handoffs    []row // the last one first
	Generations []string
}

type row struct {
	Result, Reason, Text string
	Bars                 int
}

// read reads the page.
func (b *browser) read() shows {
	b.Helper()
	return do(b, chromedp.Evaluate[shows](`(() => {
		const text = id => document.getElementById(id).innerText.trim();
		return {
			Who: text('who'), Port: text('port'), Answers: text('answers').replace(/,/g, ''), Failed: text('failed'),
			Reconnects: text('reconnects'), Message: text('message'), Legend: text('legend'),
			Enabled: document.querySelectorAll('button:enabled').length,
			Handoffs: [...document.querySelectorAll('#handoffs tr[data-result]')].map(e => ({Result: e.dataset.result,
				Reason: e.dataset.reason, Text: e.innerText, Bars: e.querySelectorAll('.stage > div').length})),
			Generations: [...document.querySelectorAll('#generations tr')].map(e => e.innerText),
		};
	})()`))
}

// until reads until what is read is right.
func (b *browser) until(what string, right func(shows) bool) shows {
	b.Helper()
	for since := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		s := b.read()
		if right(s) {
			return s
		}
		if time.Since(since) > patience {
			b.Fatalf("%s: not within %v. The page shows %+v", what, patience, s)
		}
	}
}

// press clicks on a button when that can be done, and waits until the timeline shows one more handoff, with its result.
func (b *browser) press(v version, result string) row {
	b.Helper()
	before := b.until("buttons", func(s shows) bool { return s.Enabled == 4 })
	do(b, chromedp.Click(chromedp.CSS(`button[data-version="`+string(v)+`"]`)))
	after := b.until(string(v)+": "+result, func(s shows) bool {
		return s.Enabled == 4 && len(s.Handoffs) == len(before.Handoffs)+1 && s.Handoffs[0].Result == result
	})
	if *picture != "" {
		time.Sleep(7 * time.Second) // there is something to see between two of them
	}
	return after.Handoffs[0]
}

// answered waits for some more answers, by a generation.
func (b *browser) answered(by string) shows {
	b.Helper()
	b.until(by, func(s shows) bool { return s.Who == by })
	var n int
	return b.until("20 answers", func(s shows) bool {
		var now int
		for _, c := range s.Answers {
			now = 10*now + int(c-'0')
		}
		if n == 0 {
			n = now
		}
		return now >= n+20
	})
}

// TestButtons presses each button, and reads the page: it shows what became of each, and its own connection lives on.
func TestButtons(t *testing.T) {
	c := chain.New(t, "-listen", "127.0.0.1:0")
	b := open(t, "http://"+c.Address()+"/")
	first := b.answered("generation 1")

	b.press(good, "done")
	b.answered("generation 2")
	if r := b.press(broken, "failed"); r.Reason != "died" || !strings.Contains(r.Text, "exit status 3") ||
		!strings.Contains(r.Text, "cannot read its configuration") {
		t.Errorf("the broken upgrade: %+v", r)
	}
	if r := b.press(killed, "rolledback"); r.Reason != "died" || !strings.Contains(r.Text, "killed") || !strings.Contains(r.Text, "was revived") {
		t.Errorf("the killed successor: %+v", r)
	}
	b.answered("generation 2")
	if r := b.press(unwell, "revived"); r.Reason != "check" || !strings.Contains(r.Text, errUnwell.Error()) {
		t.Errorf("the unwell successor: %+v", r)
	}
	if s := b.answered("generation 2"); !strings.Contains(s.Legend, "generation 3") {
		t.Errorf("the unwell successor has not answered before it gave up: %q", s.Legend)
	}
	if r := b.press(good, "done"); r.Bars < 6 {
		t.Errorf("stages of the last one: %+v", r)
	}
	last := b.answered("generation 3")
	if last.Failed != "0" || last.Reconnects != "0" {
		t.Errorf("%s failed, %s reconnects, want 0 and 0", last.Failed, last.Reconnects)
	}
	if last.Port != first.Port || !strings.Contains(last.Port, "always from") {
		t.Errorf("%q, and it was %q", last.Port, first.Port)
	}
	if len(last.Generations) == 0 || !strings.HasPrefix(last.Generations[0], "3") {
		t.Errorf("processes that live: %q", last.Generations)
	}
	if *picture != "" {
		b.photograph(*picture)
	}

	// The counts are no ornament: without a server requests fail.
	c.Stop(do(b, chromedp.Evaluate[int](`last.pid`)))
	s := b.until("a failed request", func(s shows) bool { return s.Failed != "0" })
	if !strings.Contains(s.Message, "No answer") {
		t.Errorf("the page says %q", s.Message)
	}
}

// photograph writes a picture of the page.
func (b *browser) photograph(file string) {
	b.Helper()
	do(b, func(ctx context.Context, t *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: *scheme}},
		})
	})
	time.Sleep(time.Second) // the chart is drawn four times in it
	if err := os.WriteFile(file, small(b, do(b, chromedp.FullScreenshot(100))), 0o600); err != nil {
		b.Fatal(err)
	}
}

// small makes a picture of the 256 colours that it has most of, which is a third of the size, and looks the same.
func small(b *browser, in []byte) []byte {
	b.Helper()
	from, err := png.Decode(bytes.NewReader(in))
	if err != nil {
		b.Fatal(err)
	}
	bounds := from.Bounds()
	count := make(map[color.RGBA]int)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[color.RGBAModel.Convert(from.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return count[b] - count[a] })
	var palette color.Palette
	for _, c := range colours[:min(256, len(colours))] {
		palette = append(palette, c)
	}
	to := image.NewPaletted(bounds, palette)
	draw.Draw(to, bounds, from, bounds.Min, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
