package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Encode returns m's frame. The same message always gives the same bytes.
//
// A reason that is too long is truncated, and bytes of it that are not UTF-8 are replaced; m itself is not changed.
// Otherwise a message out of bounds is [ErrMalformed]. A frame longer than [MaxFrame] is too; see [Offers].
func Encode(m Message) ([]byte, error) {
	m, err := tidy(m)
	if err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("wire: encode %s: %w", m.Type(), err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"type":%q`, m.Type())
	head := b.Len()
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // a person reads it
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("wire: encode %s: %w", m.Type(), err)
	}
	// What Encode appended is "{...}\n". Its members follow "type"; there may be none.
	b.Truncate(b.Len() - 1)
	frame := b.Bytes()
	if bytes.Equal(frame[head:], []byte("{}")) {
		frame = append(frame[:head], '}')
	} else {
		frame[head] = ','
	}
	if len(frame) > MaxFrame {
		return nil, fmt.Errorf("wire: encode %s: %w: %d bytes are more than a frame's %d", m.Type(), ErrMalformed, len(frame), MaxFrame)
	}
	return frame, nil
}

// tidy returns m, or a copy of it whose reason is within bounds and whose lists are not null.
func tidy(m Message) (Message, error) {
	if m == nil || reflect.ValueOf(m).IsNil() {
		return nil, fmt.Errorf("wire: encode: %w: nil message", ErrMalformed)
	}
	switch m := m.(type) {
	case *Refuse:
		c := *m
		c.Reason = tidyReason(m.Reason)
		return &c, nil
	case *Failed:
		c := *m
		c.Reason = tidyReason(m.Reason)
		return &c, nil
	case *Abort:
		return &Abort{Reason: tidyReason(m.Reason), DryRun: m.DryRun}, nil
	case *Goodbye:
		return &Goodbye{Reason: tidyReason(m.Reason)}, nil
	case *Taken:
		c := *m
		c.Refused = tidyReason(m.Refused)
		return &c, nil
	case *Offer:
		if m.Items == nil {
			return &Offer{Batch: m.Batch, Last: m.Last, Items: []Item{}}, nil
		}
	case *Conns:
		if m.Records == nil {
			c := *m
			c.Records = []byte{}
			return &c, nil
		}
	case *Prepared:
		if m.Receipts == nil {
			c := *m
			c.Receipts = []Receipt{}
			return &c, nil
		}
	}
	return m, nil
}

// tidyReason keeps the beginning of s, cut between two characters.
func tidyReason(s string) string {
	const dots = "…"
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxReason {
		return s
	}
	n := MaxReason - len(dots)
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + dots
}
