package wire

import "fmt"

// Offers splits a manifest into as few OFFERs as fit their bounds, numbered from 0, the last one marked. There is always
// one, if only an empty one. Items are aliased, not copied.
//
// The error is [ErrMalformed]: more than [MaxSockets] items, or one that is out of bounds.
func Offers(items []Item) ([]*Offer, error) {
	parts, err := split(items, MaxItems, func(part []Item) Message {
		return &Offer{Batch: MaxSockets - 1, Items: part}
	})
	if err != nil {
		return nil, err
	}
	offers := make([]*Offer, len(parts))
	for i, part := range parts {
		offers[i] = &Offer{Batch: i, Last: i == len(parts)-1, Items: part}
	}
	return offers, nil
}

// Receipts splits receipts into PREPAREDs, as [Offers] does a manifest. confirmWithin goes into the last.
func Receipts(receipts []Receipt, confirmWithin int64) ([]*Prepared, error) {
	parts, err := split(receipts, MaxReceipts, func(part []Receipt) Message {
		return &Prepared{Batch: MaxSockets - 1, Receipts: part, ConfirmWithin: confirmWithin}
	})
	if err != nil {
		return nil, err
	}
	prepared := make([]*Prepared, len(parts))
	for i, part := range parts {
		prepared[i] = &Prepared{Batch: i, Last: i == len(parts)-1, Receipts: part}
	}
	prepared[len(parts)-1].ConfirmWithin = confirmWithin
	return prepared, nil
}

// AddSections adds sections to the last of batches, or to further ones if they do not fit, and returns all.
//
// The error is [ErrMalformed]: more than [MaxSections] sections, or one that is out of bounds.
func AddSections(batches []*Prepared, sections []Section) ([]*Prepared, error) {
	if len(sections) > MaxSections {
		return nil, fmt.Errorf("wire: %w: %d sections are more than %d", ErrMalformed, len(sections), MaxSections)
	}
	last := batches[len(batches)-1]
	with := *last
	with.Sections = sections
	if _, err := Encode(&with); err == nil {
		last.Sections = sections
		return batches, nil
	}
	parts, err := split(sections, MaxSections, func(part []Section) Message {
		return &Prepared{Batch: MaxSockets - 1, Sections: part, ConfirmWithin: last.ConfirmWithin}
	})
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		next := &Prepared{Batch: last.Batch + 1, Last: true, ConfirmWithin: last.ConfirmWithin, Sections: part}
		last.Last, last.ConfirmWithin = false, 0
		batches, last = append(batches, next), next
	}
	return batches, nil
}

// split cuts all into parts of at most limit whose messages, which probe makes, are encodable.
func split[T any](all []T, limit int, probe func([]T) Message) ([][]T, error) {
	if len(all) > MaxSockets {
		return nil, fmt.Errorf("wire: %w: %d sockets are more than %d", ErrMalformed, len(all), MaxSockets)
	}
	parts := [][]T{}
	for first := true; first || len(all) > 0; first = false {
		n := min(limit, len(all))
		for {
			_, err := Encode(probe(all[:n:n]))
			if err == nil {
				break
			}
			if n <= 1 {
				return nil, err
			}
			n = (n + 1) / 2 // usually it is the frame's length; if not, one element alone will say so
		}
		parts = append(parts, all[:n:n])
		all = all[n:]
	}
	return parts, nil
}
