package fdpass

import (
	"errors"
	"testing"
)

func TestParseHeader(t *testing.T) {
	full := header{fds: 7, payload: 100, padding: 3}
	for _, tt := range []struct {
		name    string
		b       []byte
		want    header
		wantErr error
	}{
		{"as allowed", full.append(nil), full, nil},
		{"nothing", header{}.append(nil), header{}, nil},
		{"short", full.append(nil)[:headerLen-1], header{}, ErrTruncated},
		{"long", append(full.append(nil), 0), header{}, ErrTruncated},
		{"another magic", make([]byte, headerLen), header{}, ErrTruncated},
		{"too many", header{fds: 8}.append(nil), header{}, ErrTooMany},
		{"as many as there can be", header{fds: -1}.append(nil), header{}, ErrTooMany},
		{"too long", header{payload: 101}.append(nil), header{}, ErrTruncated},
		{"padding for nothing", header{padding: 1}.append(nil), header{}, ErrTruncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseHeader(tt.b, 7, 100)
			if got != tt.want || !errors.Is(err, tt.wantErr) {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, tt.want, tt.wantErr)
			}
		})
	}
	if _, err := parseHeader(header{fds: 1}.append(nil), -1, 0); !errors.Is(err, ErrTooMany) {
		t.Errorf("a negative limit: %v", err)
	}
}

// FuzzParseHeader: what is accepted keeps to the limits, and is what would be written.
func FuzzParseHeader(f *testing.F) {
	f.Add(header{fds: 19000, payload: 1 << 20, padding: 75}.append(nil))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		const fds, payload = 20000, 2 << 20
		h, err := parseHeader(b, fds, payload)
		if err != nil {
			return
		}
		if h.fds < 0 || h.fds > fds || h.payload < 0 || h.payload > payload || h.padding < 0 || h.padding > h.fds {
			t.Fatalf("accepted %+v", h)
		}
		if got := h.append(nil); string(got) != string(b) {
			t.Fatalf("%x becomes %x", b, got)
		}
	})
}
