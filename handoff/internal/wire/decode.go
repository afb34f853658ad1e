package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

var (
	// ErrMalformed is wrapped by the error of a frame that breaks a rule or a bound of the protocol.
	ErrMalformed = errors.New("malformed frame")

	// ErrUnknownType is wrapped by the error of a well-formed frame whose type version 1 does not have.
	ErrUnknownType = errors.New("unknown type of frame")
)

// Decode returns the message of a frame. It keeps nothing of b.
//
// Errors: [ErrMalformed], [ErrUnknownType]. No frame makes it use more memory than a small multiple of [MaxFrame].
func Decode(b []byte) (Message, error) {
	if len(b) > MaxFrame {
		return nil, fmt.Errorf("wire: decode: %w: %d bytes are more than %d", ErrMalformed, len(b), MaxFrame)
	}
	if !utf8.Valid(b) { // encoding/json would replace what is not
		return nil, fmt.Errorf("wire: decode: %w: not UTF-8", ErrMalformed)
	}
	if err := scan(b); err != nil {
		return nil, fmt.Errorf("wire: decode: %w", err)
	}
	var head struct {
		Type *string `json:"type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("wire: decode: %w: %w", ErrMalformed, err)
	}
	if head.Type == nil {
		return nil, fmt.Errorf("wire: decode: %w: no type", ErrMalformed)
	}
	m := newMessage(*head.Type)
	if m == nil {
		return nil, fmt.Errorf("wire: decode: %w: %.40q; the other side is newer, or no segue", ErrUnknownType, *head.Type)
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("wire: decode %s: %w: %w", m.Type(), ErrMalformed, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("wire: decode %s: %w", m.Type(), err)
	}
	return m, nil
}

// scan checks what json.Unmarshal would let pass: that b begins with an object, that it is not deep, and that no member
// is there twice. It takes members for the same whose names differ in case only, as json.Unmarshal does, so that two
// implementations cannot read different things out of one frame. What follows the object is left to json.Unmarshal.
func scan(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // a number too large for a float64 may be in an unknown member
	type level struct {
		names map[string]bool // nil in an array
		key   bool            // the next token is a member's name
	}
	var stack []level
	for first := true; first || len(stack) > 0; first = false {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if first && tok != json.Delim('{') {
			return outOfBounds("not an object")
		}
		if n := len(stack); n > 0 && stack[n-1].key && tok != json.Delim('}') {
			name := fold(tok.(string))
			if stack[n-1].names[name] {
				return outOfBounds("member %.40q is there twice", tok)
			}
			if exact, known := members()[name]; known && exact != tok {
				return outOfBounds("member %.40q is spelled %q", tok, exact)
			}
			stack[n-1].names[name] = true
			stack[n-1].key = false
			continue
		}
		switch tok {
		case json.Delim('{'):
			stack = append(stack, level{names: map[string]bool{}, key: true})
			if len(stack) > MaxDepth {
				return outOfBounds("deeper than %d", MaxDepth)
			}
			continue
		case json.Delim('['):
			stack = append(stack, level{})
			if len(stack) > MaxDepth {
				return outOfBounds("deeper than %d", MaxDepth)
			}
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if n := len(stack); n > 0 && stack[n-1].names != nil {
			stack[n-1].key = true // a value ended
		}
	}
	return nil
}
