package wire

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecode(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	items := func(n int) string {
		return `{"type":"offer","items":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a","kind":"file"},`, n), ",") + `]}`
	}
	receipts := func(n int) string {
		return `{"type":"prepared","receipts":[` + strings.TrimSuffix(strings.Repeat(`{},`, n), ",") + `]}`
	}
	sections := func(n int) string {
		return `{"type":"prepared","receipts":[],"sections":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, n), ",") + `]}`
	}
	for _, tt := range []struct {
		name, frame string
		want        Message
		wantErr     error
	}{
		{"plain", `{"type":"commit"}`, &Commit{}, nil},
		{"type last", `{"batch":7,"type":"taken"}`, &Taken{Batch: 7}, nil},
		{"white space", " {\n\t\"type\" : \"taken\", \"batch\":\r\n7 } \n", &Taken{Batch: 7}, nil},
		{"unknown members", `{"type":"taken","batch":7,"new":{"batch":8,"x":[1e999,null,{"x":1}]},"newer":[[]]}`, &Taken{Batch: 7}, nil},
		{"same member in two objects", `{"type":"offer","items":[{"name":"a","kind":"file"},{"name":"b","kind":"file"}]}`,
			&Offer{Items: []Item{{Name: "a", Kind: KindFile}, {Name: "b", Kind: KindFile}}}, nil},
		{"longest name", `{"type":"wait","phase":"` + long(MaxName) + `"}`, &Wait{Phase: long(MaxName)}, nil},
		{"longest reason", `{"type":"abort","reason":"` + long(MaxReason) + `"}`, &Abort{Reason: long(MaxReason)}, nil},
		{"deepest", `{"type":"ping","x":` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `}`, &Ping{}, nil},

		{"unknown type", `{"type":"songs","batch":7}`, nil, ErrUnknownType},
		{"type in capitals", `{"type":"Commit"}`, nil, ErrUnknownType},
		{"empty type", `{"type":""}`, nil, ErrUnknownType},

		{"empty", ``, nil, ErrMalformed},
		{"no object", `"commit"`, nil, ErrMalformed},
		{"array", `[{"type":"commit"}]`, nil, ErrMalformed},
		{"null", `null`, nil, ErrMalformed},
		{"no type", `{"batch":7}`, nil, ErrMalformed},
		{"null type", `{"type":null}`, nil, ErrMalformed},
		{"number as type", `{"type":7}`, nil, ErrMalformed},
		{"cut", `{"type":"commit"`, nil, ErrMalformed},
		{"trailing object", `{"type":"commit"}{}`, nil, ErrMalformed},
		{"trailing NUL", "{\"type\":\"commit\"}\x00", nil, ErrMalformed},
		{"trailing brace", `{"type":"commit"}}`, nil, ErrMalformed},
		{"type twice", `{"type":"commit","type":"commit"}`, nil, ErrMalformed},
		{"member twice", `{"type":"taken","batch":1,"batch":1}`, nil, ErrMalformed},
		{"member twice, escaped", `{"type":"taken","batch":1,"b\u0061tch":1}`, nil, ErrMalformed},
		{"member twice, other case", `{"type":"taken","batch":1,"Batch":2}`, nil, ErrMalformed},
		{"unknown member twice", `{"type":"commit","x":1,"x":1}`, nil, ErrMalformed},
		{"member twice deep inside", `{"type":"commit","x":[{"y":1,"y":1}]}`, nil, ErrMalformed},
		{"other case", `{"type":"taken","BATCH":1}`, nil, ErrMalformed},
		{"long s for s", `{"type":"hello","ver\u017fions":[1]}`, nil, ErrMalformed},
		{"too deep", `{"type":"ping","x":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`, nil, ErrMalformed},
		{"too deep with objects", `{"type":"ping","x":` + strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth) + `}`, nil, ErrMalformed},
		{"too long", `{"type":"ping","x":"` + long(MaxFrame) + `"}`, nil, ErrMalformed},
		{"no UTF-8", "{\"type\":\"wait\",\"phase\":\"\xff\"}", nil, ErrMalformed},
		{"NUL in a name", `{"type":"wait","phase":"a\u0000b"}`, nil, ErrMalformed},
		{"name too long", `{"type":"wait","phase":"` + long(MaxName+1) + `"}`, nil, ErrMalformed},
		{"reason too long", `{"type":"abort","reason":"` + long(MaxReason+1) + `"}`, nil, ErrMalformed},
		{"float", `{"type":"taken","batch":1.5}`, nil, ErrMalformed},
		{"negative", `{"type":"taken","batch":-1}`, nil, ErrMalformed},
		{"beyond int64", `{"type":"taken","batch":18446744073709551616}`, nil, ErrMalformed},
		{"batch too high", `{"type":"taken","batch":65536}`, nil, ErrMalformed},
		{"item too high", `{"type":"drop","item":65536}`, nil, ErrMalformed},
		{"no versions", `{"type":"hello","name":"x"}`, nil, ErrMalformed},
		{"version 0", `{"type":"hello","versions":[1,0]}`, nil, ErrMalformed},
		{"too many versions", `{"type":"hello","versions":[1` + strings.Repeat(",1", MaxVersions) + `]}`, nil, ErrMalformed},
		{"too many features", `{"type":"hello","versions":[1],"features":["a"` + strings.Repeat(`,"a"`, MaxFeatures) + `]}`, nil, ErrMalformed},
		{"feature too long", `{"type":"hello","versions":[1],"features":["` + long(MaxName+1) + `"]}`, nil, ErrMalformed},
		{"negative pid", `{"type":"hello","versions":[1],"pid":-1}`, nil, ErrMalformed},
		{"generation 0", `{"type":"welcome","version":1,"generation":0}`, nil, ErrMalformed},
		{"unknown kind", `{"type":"offer","items":[{"name":"a","kind":"socket"}]}`, nil, ErrMalformed},
		{"listener without network", `{"type":"offer","items":[{"name":"a","kind":"listener","address":":80"}]}`, nil, ErrMalformed},
		{"packet socket without network", `{"type":"offer","items":[{"name":"a","kind":"packet","address":":53"}]}`, nil, ErrMalformed},
		{"file without name", `{"type":"offer","items":[{"kind":"file"}]}`, nil, ErrMalformed},
		{"address too long", `{"type":"offer","items":[{"name":"a","kind":"file","address":"` + long(MaxAddress+1) + `"}]}`, nil, ErrMalformed},
		{"path too long", `{"type":"offer","items":[{"name":"a","kind":"file","unlink":{"path":"` + long(MaxPath+1) + `"}}]}`, nil, ErrMalformed},
		{"keepAlive too long", `{"type":"offer","items":[{"name":"a","kind":"file","keepAlive":9000000000000000000}]}`, nil, ErrMalformed},
		{"idle too long", `{"type":"offer","items":[{"name":"a","kind":"file","keepAliveConfig":{"idle":9000000000000000000}}]}`, nil, ErrMalformed},
		{"cookie as number", `{"type":"prepared","receipts":[{"cookie":1}]}`, nil, ErrMalformed},
		{"negative flags", `{"type":"prepared","receipts":[{"flags":-1}]}`, nil, ErrMalformed},
		{"negative time", `{"type":"prepared","receipts":[],"confirmWithin":-1}`, nil, ErrMalformed},
		{"negative size", `{"type":"state","name":"a","size":"-1"}`, nil, ErrMalformed},
		{"size as number", `{"type":"state","name":"a","size":1}`, nil, ErrMalformed},
		{"NUL in a section", `{"type":"state","name":"a\u0000","size":"1"}`, nil, ErrMalformed},
		{"section too long", `{"type":"prepared","receipts":[],"sections":[{"name":"` + long(MaxName+1) + `"}]}`, nil, ErrMalformed},
		{"sections as names", `{"type":"prepared","receipts":[],"sections":["a"]}`, nil, ErrMalformed},
		{"negative time for state", `{"type":"welcome","version":1,"generation":1,"stateWithin":-1}`, nil, ErrMalformed},
		{"too many sections", sections(MaxSections + 1), nil, ErrMalformed},
		{"too many items", items(MaxItems + 1), nil, ErrMalformed},
		{"too many receipts", receipts(MaxReceipts + 1), nil, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode([]byte(tt.frame))
			if !errors.Is(err, tt.wantErr) {
				t.Fatalf("got %+v, error %v; want error %v", got, err, tt.wantErr)
			}
			if tt.want != nil && !reflect.DeepEqual(got, tt.want) || tt.want == nil && got != nil {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	for _, frame := range []string{items(MaxItems), receipts(MaxReceipts), sections(MaxSections)} {
		if _, err := Decode([]byte(frame)); err != nil {
			t.Errorf("the most that is allowed: %v", err)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	var none *Failed
	for _, tt := range []struct {
		name string
		m    Message
	}{
		{"nil", nil},
		{"nil pointer", none},
		{"NUL", &Wait{Phase: "a\x00"}},
		{"no UTF-8", &Wait{Phase: "\xff"}},
		{"no versions", &Hello{}},
		{"no generation", &Welcome{Version: 1}},
		{"no kind", &Offer{Items: []Item{{Name: "a"}}}},
		{"too long for a frame", &Offer{Items: slices.Repeat([]Item{{Name: strings.Repeat("a", MaxName), Kind: KindFile}}, MaxItems)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if frame, err := Encode(tt.m); !errors.Is(err, ErrMalformed) || frame != nil {
				t.Errorf("got %s, %v", frame, err)
			}
		})
	}
}

// A reason is what a child printed, perhaps, and there must be a frame for it.
func TestReason(t *testing.T) {
	for _, reason := range []string{
		strings.Repeat("a", MaxReason+1),
		strings.Repeat("ä", MaxReason),
		"x" + strings.Repeat("€", MaxReason),
		strings.Repeat("\x00\x01", MaxReason),
		strings.Repeat("\xffa", 2*MaxReason),
		strings.Repeat("\u2028", MaxReason),
	} {
		for _, m := range []Message{
			&Refuse{Code: CodeMalformed, Reason: reason}, &Failed{Reason: reason}, &Abort{Reason: reason}, &Goodbye{Reason: reason},
		} {
			frame, err := Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			back, err := Decode(frame)
			if err != nil {
				t.Fatal(err)
			}
			got := reflect.ValueOf(back).Elem().FieldByName("Reason").String()
			want := reflect.ValueOf(m).Elem().FieldByName("Reason").String()
			if want != reason {
				t.Errorf("%s: Encode changed its argument", m.Type())
			}
			if len(got) > MaxReason || len(got) < MaxReason-8 || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
				t.Errorf("%s: got %d bytes ending with %q", m.Type(), len(got), got[len(got)-8:])
			}
		}
	}
}

func TestBatches(t *testing.T) {
	for _, tt := range []struct {
		count, nameLen int
		batches        int // 0: whatever it takes
	}{
		{0, 0, 1},
		{1, 10, 1},
		{MaxItems, 10, 1},
		{MaxItems + 1, 10, 2},
		{1000, MaxName, 0},
		{20000, 10, 80},
	} {
		t.Run(fmt.Sprint(tt.count, "x", tt.nameLen), func(t *testing.T) {
			items := make([]Item, tt.count)
			receipts := make([]Receipt, tt.count)
			for i := range items {
				items[i] = Item{Name: fmt.Sprintf("%0*d", tt.nameLen, i), Kind: KindFile}
				receipts[i] = Receipt{Item: i, Cookie: 1<<64 - 1, Dev: 1<<64 - 1, Ino: 1<<64 - 1, Flags: 1<<31 - 1}
			}
			offers, err := Offers(items)
			if err != nil {
				t.Fatal(err)
			}
			var all []Item
			for i, o := range offers {
				if _, err := Encode(o); err != nil {
					t.Fatal(err)
				}
				if o.Batch != i || o.Last != (i == len(offers)-1) || len(o.Items) == 0 && tt.count > 0 {
					t.Errorf("batch %d: got number %d, last %v, %d items", i, o.Batch, o.Last, len(o.Items))
				}
				all = append(all, o.Items...)
			}
			if !slices.Equal(all, items) || tt.batches != 0 && len(offers) != tt.batches {
				t.Errorf("%d items came out of %d, in %d batches", len(all), len(items), len(offers))
			}
			prepared, err := Receipts(receipts, 1234)
			if err != nil {
				t.Fatal(err)
			}
			var allReceipts []Receipt
			for i, p := range prepared {
				if _, err := Encode(p); err != nil {
					t.Fatal(err)
				}
				last := i == len(prepared)-1
				if p.Batch != i || p.Last != last || (p.ConfirmWithin == 1234) != last {
					t.Errorf("batch %d: got number %d, last %v, confirm within %d", i, p.Batch, p.Last, p.ConfirmWithin)
				}
				allReceipts = append(allReceipts, p.Receipts...)
			}
			if !slices.Equal(allReceipts, receipts) {
				t.Errorf("%d receipts came out of %d", len(allReceipts), len(receipts))
			}
		})
	}
	for _, items := range [][]Item{make([]Item, MaxSockets+1), {{Name: "a", Kind: KindFile}, {Name: "a", Kind: "?"}}} {
		if _, err := Offers(items); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d items: got %v", len(items), err)
		}
	}
	if _, err := Receipts(nil, -1); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

func TestAddSections(t *testing.T) {
	for _, tt := range []struct {
		name               string
		receipts, sections int
		long               string
		batches            int
	}{
		{"none", 1, 0, "a", 1},
		{"beside receipts", 2, MaxSections, "a", 1},
		{"after receipts", MaxReceipts, MaxSections, strings.Repeat("b", MaxName), 1},
		{"longest", 0, MaxSections, strings.Repeat("\x01", MaxName), 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := make([]Section, tt.sections)
			for i := range want {
				want[i] = Section{Name: tt.long, Ahead: true, Gap: true}
			}
			batches, err := Receipts(make([]Receipt, tt.receipts), 1234)
			if err == nil {
				batches, err = AddSections(batches, want)
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []Section
			for i, p := range batches {
				if _, err := Encode(p); err != nil {
					t.Fatal(err)
				}
				last := i == len(batches)-1
				if p.Batch != i || p.Last != last || (p.ConfirmWithin == 1234) != last {
					t.Errorf("batch %d: got number %d, last %v, confirm within %d", i, p.Batch, p.Last, p.ConfirmWithin)
				}
				got = append(got, p.Sections...)
			}
			if !slices.Equal(got, want) || len(batches) != tt.batches {
				t.Errorf("%d sections came out of %d, in %d batches, want %d", len(got), len(want), len(batches), tt.batches)
			}
		})
	}
	for _, sections := range [][]Section{make([]Section, MaxSections+1), {{Name: "\x00"}}} {
		if _, err := AddSections([]*Prepared{{}}, sections); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d sections: got %v", len(sections), err)
		}
	}
}

// The longest item fits a frame alone, so that Offers can always go on.
func TestLongestItem(t *testing.T) {
	long := func(n int) string { return strings.Repeat("\x01", n) } // six bytes each in JSON
	offers, err := Offers(slices.Repeat([]Item{{
		Name: long(MaxName), Kind: KindRendezvous, Network: long(MaxName), Address: long(MaxAddress), KeepAlive: -maxPeriod,
		KeepAliveConfig: &KeepAliveConfig{Enable: true, Idle: -maxPeriod, Interval: -maxPeriod, Count: -1 << 31},
		Unlink:          &Unlink{Path: long(MaxPath), Dev: 1<<64 - 1, Ino: 1<<64 - 1, Ctime: -1 << 63}, UnlinkOnClose: true, Bound: true,
	}}, 3))
	if err != nil || len(offers) != 2 {
		t.Errorf("got %d batches, %v", len(offers), err)
	}
}

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct {
		mine, theirs []int
		want         int
		ok           bool
	}{
		{Versions(), Versions(), Version, true},
		{[]int{1}, []int{3, 2, 1}, 1, true},
		{[]int{1, 3, 2}, []int{2, 3, 4}, 3, true},
		{[]int{1}, []int{2}, 0, false},
		{nil, []int{1}, 0, false},
		{[]int{1}, nil, 0, false},
	} {
		if got, ok := Negotiate(tt.mine, tt.theirs); got != tt.want || ok != tt.ok {
			t.Errorf("%v and %v: got %d, %v; want %d, %v", tt.mine, tt.theirs, got, ok, tt.want, tt.ok)
		}
	}
}

func TestCommon(t *testing.T) {
	for _, tt := range []struct{ mine, theirs, want []string }{
		{nil, nil, nil},
		{[]string{"a"}, nil, nil},
		{[]string{"c", "a", "b", "a"}, []string{"a", "x", "c"}, []string{"c", "a"}},
	} {
		if got := Common(tt.mine, tt.theirs); !slices.Equal(got, tt.want) {
			t.Errorf("%v and %v: got %v, want %v", tt.mine, tt.theirs, got, tt.want)
		}
	}
}

// The structs that promise it convert.
var _ = KeepAliveConfig(net.KeepAliveConfig{})

// All members that a frame can have are known to members.
func TestMembersComplete(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
				if name == "" || members().spelled[fold(name)] != name {
					t.Errorf("%v.%s: member %q is not known", typ, typ.Field(i).Name, name)
				}
				walk(typ.Field(i).Type)
			}
		}
	}
	for _, m := range golden {
		walk(reflect.TypeOf(m))
	}
}

// What fold makes of a string is the same for exactly those that are equal but for case, also beyond ASCII.
func TestFold(t *testing.T) {
	all := []string{"", "k", "K", "\u212a", "s", "S", "\u017f", "kS", "Ks", "\u212a\u017f", "\u00e9", "\u00c9", "i", "I", "\u0131", "\u0130", "_9"}
	for _, a := range all {
		for _, b := range all {
			if got, want := fold(a) == fold(b), strings.EqualFold(a, b); got != want {
				t.Errorf("%q and %q: same %t, want %t", a, b, got, want)
			}
		}
	}
}
