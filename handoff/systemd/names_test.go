package systemd

import (
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	for name, want := range map[string]string{
		"http":                    "segue/http",
		"tcp/127.0.0.1:8080":      "segue/tcp/127.0.0.1%3A8080",
		"tcp/[::1]:80":            "segue/tcp/[%3A%3A1]%3A80",
		"100% of it":              "segue/100%25 of it",
		"tab\tand\nline\x7f":      "segue/tab%09and%0Aline%7F",
		"ümlaut":                  "segue/%C3%BCmlaut",
		strings.Repeat("a", 249):  "segue/" + strings.Repeat("a", 249),
		"%sha256-" + "0123456789": "segue/%25sha256-0123456789",
	} {
		got := escape(name)
		if got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
		if back, ok := unescape(got); !ok || back != name {
			t.Errorf("%q comes back as %q, %v", name, back, ok)
		}
	}
	one, two := escape(strings.Repeat("a", 250)), escape(strings.Repeat("a", 251))
	if len(one) > maxFDName || one == two || one != escape(strings.Repeat("a", 250)) {
		t.Errorf("long names: %q, %q", one, two)
	}
	for _, fdName := range []string{"http", "stored", "segue", "segue/%", "segue/%3", "segue/%zz", "segue/%3a", "segue/a:b", "segue/%41", one} {
		if name, ok := unescape(fdName); ok {
			t.Errorf("%q is taken for the escaped form of %q", fdName, name)
		}
	}
}

// FuzzEscape: whatever the name is, systemd takes what is made of it, and it comes back.
func FuzzEscape(f *testing.F) {
	f.Add("tcp/:80")
	f.Fuzz(func(t *testing.T, name string) {
		got := escape(name)
		if len(got) > maxFDName || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f || r == ':' }) {
			t.Errorf("%q becomes %q", name, got)
		}
		if back, ok := unescape(got); ok && back != name || !ok && len(name)+len(storedPrefix) <= maxFDName/3 {
			t.Errorf("%q becomes %q, which is %q, %v", name, got, back, ok)
		}
	})
}
