package wire

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden frames anew; only for a version that was never released")

// golden has a message of each type, with each member set. What follows a type, after a hyphen, is another of that type.
var golden = map[string]Message{
	typeHello: &Hello{Versions: []int{2, 1}, Features: []string{"conns", "state"}, Name: "example <web> \"ünï\"", PID: 4712},
	typeWelcome: &Welcome{
		Version: 1, Features: []string{"state"}, Generation: 2, Name: "example", PID: 4711, Heir: true, StateWithin: 10000,
		Sections: []string{"sessions"},
	},
	"welcome-timeline":   &Welcome{Version: 1, Features: []string{"timeline"}, Generation: 2, Name: "example", PID: 4711, Handoff: "00c0ffee00c0ffee"},
	typeWait:             &Wait{Phase: "starting"},
	typeBusy:             &Busy{PID: 4713, Name: "example", Phase: "offering", Owner: 4711},
	typeRefuse:           &Refuse{Code: CodeVersion, Versions: []int{1}, Reason: "no version in common"},
	"refuse-unsupported": &Refuse{Code: CodeUnsupported, Reason: "this program hands over to nobody; stop it, then start the next"},
	typeOffer: &Offer{Batch: 0, Last: true, Items: []Item{
		{
			Name: "tcp/:8080", Kind: KindListener, Network: "tcp", Address: ":8080", KeepAlive: 15 * time.Second,
			KeepAliveConfig: &KeepAliveConfig{Enable: true, Idle: time.Second, Interval: 2 * time.Second, Count: 3}, Bound: true,
		},
		{
			Name: "unix//run/app.sock", Kind: KindListener, Network: "unix", Address: "/run/app.sock", UnlinkOnClose: true,
			Unlink: &Unlink{Path: "/run/app.sock", Dev: 1<<64 - 1, Ino: 1<<64 - 2, Ctime: 1795460292000000001},
		},
		{Name: "udp/:53", Kind: KindPacket, Network: "udp", Address: ":53", KeepAlive: -1},
		{Name: "data", Kind: KindFile},
		{Name: "pulled", Kind: KindFile, Descriptor: 9, Cookie: 1<<64 - 1, Dev: 8, Ino: 77},
		{Name: "rendezvous", Kind: KindRendezvous, Network: "unixpacket", Address: "@app"},
		{Name: "stdout", Kind: KindStdout},
		{Name: "stderr", Kind: KindStderr},
	}},
	typeTaken: &Taken{Batch: 3, Refused: "operation not permitted", Room: 16747},
	typePrepared: &Prepared{Batch: 1, Last: true, ConfirmWithin: 2500, Receipts: []Receipt{
		{Item: 0, Claimed: true, Cookie: 1<<64 - 1, Dev: 8, Ino: 77, Flags: 2},
		{Item: 1},
	}, Sections: []Section{{Name: "sessions", Ahead: true, Gap: true}, {Name: "limits", Gap: true}}},
	typeState:    &State{Name: "sessions", Size: 1<<63 - 1, Ahead: true},
	typeSaved:    &Saved{Ahead: true},
	typeRestored: &Restored{Ahead: true},
	typeCommit:   &Commit{},
	typeOwned:    &Owned{},
	typeConfirm:  &Confirm{Takes: []Take{{Item: 0, Protocol: "http/1"}, {Item: 3, Protocol: "http/1"}}, Room: 17000},
	typeConns:    &Conns{Batch: 7, Item: 3, Protocol: "http/1", Name: "chat", Records: goldenRecords()},
	typeFailed:   &Failed{Reason: "check: dial tcp: refused", Returned: true},
	typeAbort:    &Abort{Reason: "the successor died"},
	typeRelease:  &Release{},
	typeReleased: &Released{},
	typeDrop:     &Drop{Item: 260},
	typePing:     &Ping{},
	typePong:     &Pong{},
	typeUpgrade:  &Upgrade{},
	typeReport:   &Report{Body: json.RawMessage(`{"version":1,"entries":[{"id":"00c0ffee00c0ffee"}]}`)},
	typeRetire:   &Retire{Generation: 3},
	typeBye:      &Bye{},
	typeGoodbye:  &Goodbye{Reason: "SIGTERM"},
}

// A frame of version 1 stays what it is, byte for byte.
func TestGolden(t *testing.T) {
	for name, m := range golden {
		t.Run(name, func(t *testing.T) {
			typ, _, _ := strings.Cut(name, "-")
			if m.Type() != typ || newMessage(typ).Type() != typ {
				t.Fatalf("type is %q or %q, want %q", m.Type(), newMessage(typ).Type(), typ)
			}
			frame, err := Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			if want := `{"type":"` + typ + `"`; !strings.HasPrefix(string(frame), want) {
				t.Errorf("frame does not begin with its type: %s", frame)
			}
			path := filepath.Join("testdata", "v1", name+".json")
			if *update {
				if err := os.WriteFile(path, frame, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(frame) != string(want) {
				t.Errorf("got  %s\nwant %s", frame, want)
			}
			back, err := Decode(want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, m) {
				t.Errorf("got %+v, want %+v", back, m)
			}
		})
	}
	files, err := filepath.Glob("testdata/v1/*.json")
	if err != nil || len(files) != len(golden) {
		t.Errorf("%d golden frames, want %d (%v)", len(files), len(golden), err)
	}
}
