package handoff_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/segue-go/segue/handoff"
)

// TestStatusJSON: the error is a text, which comes back as an error, and everything else as it was.
func TestStatusJSON(t *testing.T) {
	for _, lastError := range []error{nil, &handoff.Error{Op: "upgrade", Phase: handoff.PhaseServing, Err: handoff.ErrPeerDied}, errors.New("")} {
		s := handoff.Status{
			Generation: 3, PID: 4711, Phase: handoff.PhaseDraining, Predecessor: 4710, Successor: 4712, Arrived: 5, Moved: 6, LastError: lastError,
			Sockets: []handoff.SocketStatus{{Name: "web", Kind: "listener", Network: "tcp", Address: "127.0.0.1:80", Inherited: true}},
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(b, &plain); err != nil {
			t.Fatal(err)
		}
		var want any
		if lastError != nil {
			want = lastError.Error()
		}
		if got, have := plain["LastError"]; got != want || !have {
			t.Errorf("LastError is %#v, want %#v, in %s", got, want, b)
		}
		if n := reflect.TypeFor[handoff.Status]().NumField(); len(plain) != n {
			t.Errorf("%d members, want %d: %s", len(plain), n, b)
		}
		back := handoff.Status{LastError: errors.New("before")}
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if (back.LastError == nil) != (lastError == nil) || lastError != nil && back.LastError.Error() != lastError.Error() {
			t.Errorf("the error came back as %v, was %v", back.LastError, lastError)
		}
		back.LastError = lastError
		if !reflect.DeepEqual(back, s) {
			t.Errorf("came back as %+v, was %+v", back, s)
		}
	}
	var log bytes.Buffer // where many programs put it
	slog.New(slog.NewJSONHandler(&log, nil)).Info("status", "status", handoff.Status{LastError: handoff.ErrBusy})
	if !strings.Contains(log.String(), `"LastError":"another handoff is under way"`) {
		t.Errorf("logged as %s", &log)
	}
}
