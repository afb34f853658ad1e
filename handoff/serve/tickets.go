package serve

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/segue-go/segue/handoff"
)

// tickets has the keys of TLS session tickets of one listener. They travel with the handoff, so that a client that
// connects again after an upgrade resumes its session (RFC 8446, section 2.2) instead of proving everything anew. They
// are in memory only.
//
// crypto/tls makes such keys itself, but nobody gets at those. So a [tls.Config] that is used for nothing else encrypts
// and decrypts the tickets.
type tickets struct {
	now func() time.Time

	mu   sync.Mutex
	keys []ticketKey // the newest first
	box  tls.Config
}

// ticketKey is a key, and when it was made.
type ticketKey struct {
	made time.Time
	key  [32]byte
}

// The times are those of crypto/tls.
const (
	ticketKeyRotation = 24 * time.Hour
	ticketKeyLifetime = 7 * 24 * time.Hour
	maxTicketKeys     = int(ticketKeyLifetime/ticketKeyRotation) + 1
)

func newTickets(now func() time.Time) *tickets { return &tickets{now: now} }

// fresh makes a new key if the newest is too old, and forgets those that no ticket needs any more. Callers hold mu.
func (t *tickets) fresh() {
	now := t.now()
	if len(t.keys) > 0 && now.Sub(t.keys[0].made) < ticketKeyRotation {
		return
	}
	k := ticketKey{made: now}
	_, _ = rand.Read(k.key[:]) // never fails (crypto/rand)
	t.set(append([]ticketKey{k}, t.keys...))
}

// set replaces the keys. Callers hold mu.
func (t *tickets) set(keys []ticketKey) {
	now := t.now()
	t.keys = nil
	var bare [][32]byte
	for _, k := range keys {
		if now.Sub(k.made) < ticketKeyLifetime && len(t.keys) < maxTicketKeys {
			t.keys, bare = append(t.keys, k), append(bare, k.key)
		}
	}
	if len(bare) > 0 { // none is not allowed, and fresh makes one
		t.box.SetSessionTicketKeys(bare)
	}
	clear(bare)
}

func (t *tickets) wrap(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	t.mu.Lock()
	t.fresh()
	t.mu.Unlock()
	return t.box.EncryptTicket(cs, ss)
}

func (t *tickets) unwrap(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	t.mu.Lock()
	t.fresh()
	t.mu.Unlock()
	return t.box.DecryptTicket(identity, cs)
}

// shares reports whether the tickets of s are to have keys that travel: not where the owner has arranged the tickets,
// and not where they have them already, because s is given with several listeners.
func shares(c *tls.Config) bool {
	if c == nil {
		return true
	}
	// SessionTicketKey is deprecated, but who sets it means it.
	return !c.SessionTicketsDisabled && c.WrapSession == nil && c.UnwrapSession == nil &&
		c.SessionTicketKey == [32]byte{} //nolint:staticcheck // see above
}

// install replaces the configuration of s by a copy whose tickets have these keys.
func (t *tickets) install(s *http.Server) {
	c := s.TLSConfig.Clone()
	if c == nil {
		c = new(tls.Config)
	}
	c.WrapSession, c.UnwrapSession = t.wrap, t.unwrap
	// net/http prepares a server for HTTP/2 when it is first used. If that is without TLS, by Serve, then only if there is
	// no configuration or it mentions h2; but there is one from now on.
	http2 := s.TLSNextProto == nil
	if s.Protocols != nil {
		http2 = s.Protocols.HTTP2()
	}
	if http2 && !slices.Contains(c.NextProtos, "h2") {
		c.NextProtos = append(slices.Clone(c.NextProtos), "h2")
		if !slices.Contains(c.NextProtos, "http/1.1") {
			c.NextProtos = append(c.NextProtos, "http/1.1")
		}
	}
	s.TLSConfig = c
}

// section is how the keys travel: while the predecessor serves, without a gap. What it makes later its successor does
// not know, but that is one key a day.
func (t *tickets) section() handoff.Section {
	return handoff.Section{
		Probation: true, // a key that is known too widely by a generation that was revived harms nobody
		Ahead:     func(_ context.Context, w io.Writer) error { return t.save(w) },
		RestoreAhead: func(_ context.Context, r *io.SectionReader) error {
			return t.restore(r)
		},
	}
}

// ticketRecord is the length of a key with its time in seconds since 1970.
const ticketRecord = 8 + 32

// save writes a version and the keys.
func (t *tickets) save(w io.Writer) error {
	t.mu.Lock()
	t.fresh()
	b := []byte{1}
	for _, k := range t.keys {
		b = binary.BigEndian.AppendUint64(b, uint64(k.made.Unix()))
		b = append(b, k.key[:]...)
	}
	t.mu.Unlock()
	_, err := w.Write(b)
	clear(b)
	return err
}

// restore undoes save.
func (t *tickets) restore(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, int64(1+maxTicketKeys*ticketRecord+1)))
	defer clear(b)
	switch {
	case err != nil:
		return err
	case len(b) == 0 || b[0] != 1:
		return errors.New("keys of TLS session tickets: another version of them")
	case (len(b)-1)%ticketRecord != 0 || len(b)-1 > maxTicketKeys*ticketRecord:
		return fmt.Errorf("keys of TLS session tickets: %d bytes are no whole number of them", len(b)-1)
	}
	var keys []ticketKey
	for b := b[1:]; len(b) > 0; b = b[ticketRecord:] {
		k := ticketKey{made: time.Unix(int64(binary.BigEndian.Uint64(b)), 0), key: [32]byte(b[8:ticketRecord])}
		keys = append(keys, k)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set(keys)
	return nil
}

// shareTickets has the session tickets of h decrypted by its successor too.
func (r *runner) shareTickets(h *httpServer) error {
	if !shares(h.http.TLSConfig) {
		return nil
	}
	name := "segue/tls-tickets/" + h.ln.Addr().Network() + "/" + h.ln.Addr().String()
	t := r.tickets[name]
	if t == nil {
		t = newTickets(time.Now)
		if err := r.gen.State(name, t.section()); err != nil {
			return fmt.Errorf("serve: keys of TLS session tickets: %w", err)
		}
		if r.tickets == nil {
			r.tickets = make(map[string]*tickets)
		}
		r.tickets[name] = t
	}
	t.install(h.http)
	return nil
}
