package wire

import (
	"reflect"
	"strings"
	"sync"
	"unicode"
)

// members maps the folded name of each member of version 1 to its spelling.
var members = sync.OnceValue(func() map[string]string {
	known := map[string]string{"type": "type"}
	for _, v := range []any{
		Hello{}, Welcome{}, Wait{}, Busy{}, Refuse{}, Offer{}, Item{}, KeepAliveConfig{}, Unlink{}, Taken{}, Prepared{},
		Receipt{}, Failed{}, Abort{}, Drop{}, Goodbye{},
	} {
		t := reflect.TypeOf(v)
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			known[fold(name)] = name
		}
	}
	return known
})

// fold returns the same string for all that strings.EqualFold takes for equal.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}
