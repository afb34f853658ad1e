package handoff_test

import (
	"bytes"
	"context"
	"errors"
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
	says := map[[2]handoff.Transport]string{
		{handoff.TransportSCMRights, handoff.TransportPidfd}: "the incumbent does not take part",
		{handoff.TransportPidfd, handoff.TransportSCMRights}: "the successor does not take part",
	}
	for _, sides := range [][2]handoff.Transport{
		{handoff.TransportSCMRights, handoff.TransportPidfd},
		{handoff.TransportPidfd, handoff.TransportSCMRights},
	} {
		t.Run(sides[0].String()+" and "+sides[1].String(), func(t *testing.T) {
			c := config(t, rendezvous(t))
			c.Transport = sides[0]
			_, l := first(t, c)
			c.Transport = sides[1]
			if g, err := handoff.Join(t.Context(), c); !errors.Is(err, handoff.ErrTransport) {
				if err == nil {
					shut(t, g)
				}
				t.Errorf("Join: %v, want ErrTransport", err)
			} else if text := err.Error(); strings.Count(text, handoff.ErrTransport.Error()) != 1 || !strings.Contains(text, says[sides]) {
				t.Errorf("Join: %v, want it to say %q, and nothing twice", err, says[sides])
			}
			serves(t, l)
		})
	}
}

// A transport that does not exist is a mistake.
func TestTransportUnknown(t *testing.T) {
	for _, unknown := range []handoff.Transport{-1, handoff.TransportPidfd + 1} {
		c := config(t, rendezvous(t))
		c.Transport = unknown
		g, err := handoff.Join(t.Context(), c)
		if err == nil {
			shut(t, g)
		}
		if err == nil || !strings.Contains(err.Error(), "there is no Transport") {
			t.Errorf("Join with %d: %v", int(unknown), err)
		}
	}
}
