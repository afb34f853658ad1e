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

	// ErrProtocol means that the other side said or sent what does not belong there.
	ErrProtocol = errors.New("protocol violation")
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
	var head struct {
		Type *string `json:"type"`
	}
	if err := unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("wire: decode: %w", err)
	}
	if err := scan(b); err != nil {
		return nil, fmt.Errorf("wire: decode: %w", err)
	}
	if head.Type == nil {
		return nil, fmt.Errorf("wire: decode: %w: no type", ErrMalformed)
	}
	m := newMessage(*head.Type)
	if m == nil {
		return nil, fmt.Errorf("wire: decode: %w: %.40q; the other side is newer, or no segue", ErrUnknownType, *head.Type)
	}
	if err := unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("wire: decode %s: %w", m.Type(), err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("wire: decode %s: %w", m.Type(), err)
	}
	return m, nil
}

// scan checks what json.Unmarshal would let pass: that b begins with an object, that it is not deep, and that no member
// is there twice. It takes members for the same whose names differ in case only, as json.Unmarshal does, so that two
// implementations cannot read different things out of one frame.
//
// b is valid JSON. That makes this a fraction of the work of a json.Decoder, which would take longer for a frame than
// the rest of a handover's step.
func scan(b []byte) error {
	if first := bytes.TrimLeft(b, " \t\r\n"); first[0] != '{' {
		return outOfBounds("not an object")
	}
	type level struct {
		names map[string]bool // nil in an array
		key   bool            // the next string is a member's name
	}
	stack := make([]level, 0, MaxDepth)
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if len(stack) == MaxDepth {
				return outOfBounds("deeper than %d", MaxDepth)
			}
			l := level{}
			if b[i] == '{' {
				l = level{names: map[string]bool{}, key: true}
			}
			stack = append(stack, l)
		case '}', ']':
			stack = stack[:len(stack)-1]
		case ',':
			top := &stack[len(stack)-1]
			top.key = top.names != nil
		case '"':
			begin := i
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++ // what is escaped does not end it
				}
			}
			if len(stack) == 0 || !stack[len(stack)-1].key {
				continue
			}
			top := &stack[len(stack)-1]
			top.key = false
			if err := checkMember(b[begin:i+1], top.names); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkMember adds the name of a member, as quoted in the frame, to those of its object.
func checkMember(quoted []byte, names map[string]bool) error {
	folded, known := members().folded[string(quoted[1:len(quoted)-1])]
	if !known {
		var name string
		if err := json.Unmarshal(quoted, &name); err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		folded = fold(name)
		if exact, known := members().spelled[folded]; known && exact != name {
			return outOfBounds("member %.40q is spelled %q", name, exact)
		}
	}
	if names[folded] {
		return outOfBounds("member %.40s is there twice", quoted)
	}
	names[folded] = true
	return nil
}
