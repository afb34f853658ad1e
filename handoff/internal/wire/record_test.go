package wire

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"
)

// goldenRecords has a record of each kind.
func goldenRecords() []byte {
	var b []byte
	for _, r := range []Record{
		{Expires: -1},
		{Expires: 0},
		{Expires: 75 * time.Second, State: []byte("\x01GET")},
	} {
		b = AppendRecord(b, r)
	}
	return b
}

func TestParseRecords(t *testing.T) {
	big := bytes.Repeat([]byte("x"), MaxState)
	for _, tt := range []struct {
		name    string
		b       []byte
		n       int
		want    []Record
		wantErr error
	}{
		{"none", nil, 0, []Record{}, nil},
		{"golden", goldenRecords(), 3, []Record{{Expires: -1}, {}, {Expires: 75 * time.Second, State: []byte("\x01GET")}}, nil},
		{"rounded up", AppendRecord(nil, Record{Expires: 1}), 1, []Record{{Expires: time.Microsecond}}, nil},
		{"longest", AppendRecord(nil, Record{Expires: math.MaxInt64}), 1, []Record{{Expires: maxExpires}}, nil},
		{"longer", []byte("\xff\xff\xff\xff\xff\xff\xff\x7f\x00"), 1, nil, ErrMalformed},
		{"largest state", AppendRecord(nil, Record{Expires: -1, State: big}), 1, []Record{{Expires: -1, State: big}}, nil},
		{"too large a state", AppendRecord(nil, Record{Expires: -1, State: append(big, 'x')}), 1, nil, ErrMalformed},
		{"too few", goldenRecords(), 4, nil, ErrMalformed},
		{"too many", goldenRecords(), 2, nil, ErrMalformed},
		{"more than descriptors", make([]byte, 2*(MaxConns+1)), MaxConns + 1, nil, ErrMalformed},
		{"cut in the state", []byte{0, 3, 'a', 'b'}, 1, nil, ErrMalformed},
		{"cut before the length", []byte{0}, 1, nil, ErrMalformed},
		{"length beyond 64 bits", bytes.Repeat([]byte{0xff}, 12), 1, nil, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRecords(tt.b, tt.n)
			if !errors.Is(err, tt.wantErr) || (err == nil) != (tt.wantErr == nil) {
				t.Fatalf("got error %v, want %v", err, tt.wantErr)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// FuzzParseRecords: what is parsed is encoded again, and that is parsed as the same.
func FuzzParseRecords(f *testing.F) {
	f.Add(goldenRecords(), 3)
	f.Add([]byte{0, 0}, 1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 {
			return
		}
		records, err := ParseRecords(b, n)
		if err != nil {
			if records != nil || !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %+v, %v", records, err)
			}
			return
		}
		var again []byte
		for _, r := range records {
			again = AppendRecord(again, r)
		}
		back, err := ParseRecords(again, n)
		if err != nil || !reflect.DeepEqual(back, records) {
			t.Fatalf("got %+v, %v, want %+v", back, err, records)
		}
	})
}
