package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httputil"
	"slices"
	"strings"
	"time"
	"unicode"
)

// request is one request, to be sent once.
type request struct {
	method string
	send   func(io.Writer) error
	check  func(body []byte) error
	asked  time.Duration // what it is meant to take, beyond what a quick one takes
	waited time.Duration // what of its latency is none of the server's doing; complete when it was answered
}

// requests makes the requests of one worker. Each has a token that no other has.
type requests struct {
	o      *Options
	kind   Kind
	worker int
	seq    int
	rng    *rand.Rand
}

func newRequests(o *Options, k Kind, worker int) *requests {
	return &requests{o: o, kind: k, worker: worker,
		rng: rand.New(rand.NewPCG(o.Seed, uint64(k)<<32|uint64(worker)))}
}

// around returns a random duration from half of d to one and a half.
func (r *requests) around(d time.Duration) time.Duration {
	return d/2 + time.Duration(r.rng.Int64N(int64(d)+1))
}

// pause returns how long to wait before the next request.
func (r *requests) pause() time.Duration {
	return max(r.around(r.o.Pace), time.Millisecond)
}

// next makes a request. Unless keep is set it asks the server to close the connection afterwards.
func (r *requests) next(keep bool) *request {
	r.seq++
	// The random part is last and of fixed length, so no token is a part of another.
	token := fmt.Sprintf("%s-%d-%d-%016x", r.kind, r.worker, r.seq, r.rng.Uint64())
	switch r.kind {
	case Slow:
		asked := r.around(r.o.SlowFor).Truncate(time.Millisecond)
		q := r.get(fmt.Sprintf("/slow?ms=%d&token=%s", asked.Milliseconds(), token), token, keep)
		q.asked, q.waited = asked, asked
		return q
	case Upload:
		return r.upload(token, keep)
	default:
		return r.get("/token?token="+token, token, keep)
	}
}

// header returns a request's header, without the line that ends it.
func (r *requests) header(method, target string, keep bool) *bytes.Buffer {
	host := r.o.Address
	if strings.HasPrefix(r.o.Network, "unix") {
		host = "localhost"
	}
	b := new(bytes.Buffer)
	fmt.Fprintf(b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, host)
	if !keep {
		b.WriteString("Connection: close\r\n")
	}
	return b
}

func (r *requests) get(target, token string, keep bool) *request {
	b := r.header("GET", target, keep)
	b.WriteString("\r\n")
	return &request{
		method: "GET",
		send:   func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err },
		check: func(body []byte) error {
			if !bytes.Contains(body, []byte(token)) {
				return fmt.Errorf("%w: asked for %s, got %.80q", ErrForeign, token, body)
			}
			return nil
		},
	}
}

// pieces is in how many writes a body is sent.
const pieces = 10

// upload makes a request whose body trickles.
func (r *requests) upload(token string, keep bool) *request {
	data := make([]byte, r.o.UploadSize)
	for i := range data {
		data[i] = byte(r.rng.Uint32())
	}
	sum := sha256.Sum256(data)
	size, digest := fmt.Sprint(len(data)), hex.EncodeToString(sum[:])

	b := r.header("POST", "/upload?token="+token, keep)
	b.WriteString("Content-Type: application/octet-stream\r\n")
	chunked := r.seq%2 == 0
	if chunked {
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	} else {
		b.WriteString("Content-Length: " + size + "\r\n\r\n")
	}

	q := &request{method: "POST", asked: r.around(r.o.UploadFor)}
	q.send = func(w io.Writer) error {
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
		body := w
		if chunked {
			body = httputil.NewChunkedWriter(w)
		}
		for piece := range slices.Chunk(data, max(1, (len(data)+pieces-1)/pieces)) {
			before := time.Now()
			time.Sleep(q.asked / pieces) // the slowness of this client, not a wait for something
			q.waited += time.Since(before)
			if _, err := body.Write(piece); err != nil {
				return err
			}
		}
		if chunked {
			_, err := io.WriteString(w, "0\r\n\r\n")
			return err
		}
		return nil
	}
	q.check = func(body []byte) error {
		words := strings.FieldsFunc(string(body), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
		if !slices.Contains(words, size) || !slices.Contains(words, digest) {
			return fmt.Errorf("%w: sent %s bytes with SHA-256 %s, got %.120q", ErrForeign, size, digest, body)
		}
		return nil
	}
	return q
}
