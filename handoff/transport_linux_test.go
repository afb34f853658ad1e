package handoff_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/segue-go/segue/handoff"
)

const transportEnv = "SEGUE_TEST_TRANSPORT"

// transportOf is the transport that this run of the tests is for.
func transportOf() handoff.Transport {
	for _, t := range []handoff.Transport{handoff.TransportSCMRights, handoff.TransportPidfd} {
		if os.Getenv(transportEnv) == t.String() {
			return t
		}
	}
	return handoff.TransportAuto
}

// conformance are the tests of what travels, how much of it, and how it arrives.
var conformance = []string{
	"Accept", "GenuineConns", "UDPSwitch", "StreamSwitch", "KeepAliveTravels", "UnlinkOnCloseTravels", "Listeners", "PacketConns",
	"Files", "ReusePortGroup", "ManySockets", "ChangedAddress", "UnclaimedServes", "SwappedAddresses", "Renamed",
	"CheckHandsBack", "Drain", "Chain",
}

// TestTransports runs the conformance tests over each transport; this very run does it over the automatic one.
func TestTransports(t *testing.T) {
	if os.Getenv(transportEnv) != "" {
		return // this is that run
	}
	for _, transport := range []handoff.Transport{handoff.TransportSCMRights, handoff.TransportPidfd} {
		t.Run(transport.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.timeout=50s", "-test.v",
				"-test.run=^Test("+strings.Join(conformance, "|")+")$")
			cmd.Env = append(os.Environ(), transportEnv+"="+transport.String())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v:\n%s", err, out)
			}
			if n := bytes.Count(out, []byte("\n--- PASS: Test")); n != len(conformance) {
				t.Errorf("%d tests ran, not %d", n, len(conformance))
			}
		})
	}
}

// Only one side may insist on a transport that the other does not take part in.
func TestTransportMismatch(t *testing.T) {
	for _, sides := range [][2]handoff.Transport{
		{handoff.TransportSCMRights, handoff.TransportPidfd},
		{handoff.TransportPidfd, handoff.TransportSCMRights},
	} {
		t.Run(sides[0].String()+" and "+sides[1].String(), func(t *testing.T) {
			c := config(t, rendezvous(t))
			c.Transport = sides[0]
			_, l := first(t, c)
			c.Transport = sides[1]
			g, err := handoff.Join(t.Context(), c)
			if err == nil {
				shut(t, g)
			}
			if !errors.Is(err, handoff.ErrTransport) || strings.Count(err.Error(), handoff.ErrTransport.Error()) != 1 {
				t.Errorf("Join: %v, want ErrTransport, once", err)
			}
			other := map[handoff.Transport]string{
				handoff.TransportPidfd: "the successor", handoff.TransportSCMRights: "the incumbent",
			}[sides[0]]
			if who := fmt.Sprintf("%s (process %d) does not", other, os.Getpid()); err != nil && !strings.Contains(err.Error(), who) {
				t.Errorf("Join: %v, which does not say %q", err, who)
			}
			serves(t, l)
		})
	}
}

// A value that is none of the constants is refused, rather than taken for one of them.
func TestTransportUnknown(t *testing.T) {
	for _, transport := range []handoff.Transport{-1, handoff.TransportPidfd + 1} {
		c := config(t, rendezvous(t))
		c.Transport = transport
		g, err := handoff.Join(t.Context(), c)
		if err == nil {
			shut(t, g)
			t.Fatalf("%v is accepted", transport)
		}
		if !strings.Contains(err.Error(), fmt.Sprintf("Transport(%d)", int(transport))) || !strings.Contains(err.Error(), "TransportAuto") {
			t.Errorf("Join: %v", err)
		}
	}
}

// An error that says that the other side ended the handoff names who that is.
func TestAbortedNames(t *testing.T) {
	names := func(t *testing.T, err error, side string) {
		t.Helper()
		wantErr(t, side, err, handoff.ErrAborted)
		if who := fmt.Sprintf("the %s (process %d)", side, os.Getpid()); !strings.Contains(err.Error(), who) {
			t.Errorf("%q is not said: %v", who, err)
		}
	}
	path := rendezvous(t)
	a, l := first(t, config(t, path))
	shut(t, join(t, config(t, path)))
	eventually(t, "the end of the attempt", func() bool { return a.Status().LastError != nil })
	names(t, a.Status().LastError, "successor")
	eventually(t, "no attempt", func() bool { return a.Status().Successor == 0 })
	b := join(t, config(t, path))
	listen(t, a, "tcp", "127.0.0.1:0") // which makes the offer void
	names(t, b.Ready(bounded(t)), "incumbent")
	serves(t, l)
}
