package handoff

import (
	"encoding/json"
	"errors"

	"github.com/segue-go/segue/handoff/internal/sockets"
)

func statusOf(o *sockets.Socket) SocketStatus {
	_, inherited := o.Place()
	return SocketStatus{
		Name: o.Name(), Kind: o.Kind(), Network: o.Network(), Address: o.Address(), Inherited: inherited,
	}
}

// statusJSON is a Status with its error as a text, which an error is not by itself in JSON.
type statusJSON struct {
	plainStatus
	LastError *string // takes the place of the one within
}

type plainStatus Status

// MarshalJSON prints each field by its name, LastError as its text, or null.
func (s Status) MarshalJSON() ([]byte, error) {
	j := statusJSON{plainStatus: plainStatus(s)}
	if s.LastError != nil {
		text := s.LastError.Error()
		j.LastError = &text
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON prints. Of LastError only the text is left: [errors.Is] finds nothing in it.
func (s *Status) UnmarshalJSON(b []byte) error {
	var j statusJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*s = Status(j.plainStatus)
	if j.LastError != nil {
		s.LastError = errors.New(*j.LastError)
	}
	return nil
}
