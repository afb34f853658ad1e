package wire

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzDecode: what is decoded is encoded again, and that is decoded as the same.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/v1/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"type":"offer","items":null,"new":[{"x":1e999}]} `))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if m != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnknownType) {
				t.Fatalf("got %+v, %v", m, err)
			}
			return
		}
		once, err := Encode(m)
		if err != nil && len(b) > MaxFrame/8 {
			return // Encode spells out what b may leave out or write shorter, and the frame gets too long
		}
		if err != nil {
			t.Fatalf("cannot encode what was decoded: %+v: %v", m, err)
		}
		back, err := Decode(once)
		if err != nil {
			t.Fatalf("cannot decode %s: %v", once, err)
		}
		twice, err := Encode(back)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("got  %s\nwant %s", twice, once)
		}
	})
}
