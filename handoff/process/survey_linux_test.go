package process

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/segue-go/segue/listener"
)

// TestBusy counts as a connection what may be one.
func TestBusy(t *testing.T) {
	so := Socket{Network: "tcp", Address: "127.0.0.1:80", Listening: true}
	at := func(port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	}
	for _, tt := range []struct {
		name string
		s    survey
		want bool
	}{
		{"a connection", survey{entries: map[uint64]entry{5: {network: "tcp", local: at(80), state: tcpEstablished, sure: true}}}, true},
		{"another connection", survey{entries: map[uint64]entry{5: {network: "tcp", local: at(81), state: tcpEstablished, sure: true}}}, false},
		{"something else, perhaps", survey{entries: map[uint64]entry{5: {network: "unix", state: unixUnconnected}}}, true},
		{"something else, as it says", survey{details: map[uint64]detail{5: {Info: listener.Info{Network: "unix"}}}}, false},
		{"in no table, and a connection as it says", survey{details: map[uint64]detail{5: {Info: listener.Info{Network: "tcp", Address: "127.0.0.1:80"}}}}, true},
		{"in no table", survey{}, true},
		{"a process that may not be looked at", survey{
			refused: []error{errors.New("no")},
			details: map[uint64]detail{5: {Info: listener.Info{Network: "unix"}}},
		}, true},
	} {
		tt.s.seen = []*seen{{sockets: map[uint64][]int{5: {3}}}}
		if got := tt.s.busy([]Socket{so}); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
