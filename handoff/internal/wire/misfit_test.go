package wire

import (
	"errors"
	"strings"
	"testing"
)

// An error about a value names its member, as the frame spells it, and says what it must be: who wrote the other side in
// another language finds it by that.
func TestErrorsNameMembers(t *testing.T) {
	for frame, want := range map[string]string{
		`{"type":7}`:                                  "member type must be a string, and is 7",
		`{"type":"hello","versions":"1"}`:             `member versions must be an array, and is "1"`,
		`{"type":"hello","versions":[1,"2"]}`:         `member versions[1] must be a whole number of at most 64 bits, and is "2"`,
		`{"type":"hello","versions":[1],"name":4711}`: "member name must be a string, and is 4711",
		`{"type":"taken","batch":1.5}`:                "member batch must be a whole number of at most 64 bits, and is 1.5",
		`{"type":"offer","last":1}`:                   "member last must be true or false, and is 1",
		`{"type":"offer","items":[{"name":"a","kind":"file"},{"name":5,"kind":"file"}]}`:      "member items[1].name must be a string, and is 5",
		`{"type":"offer","items":[{"name":"a","kind":"file","cookie":5}]}`:                    "member items[0].cookie must be an unsigned decimal number of 64 bits, in a string, and is 5",
		`{"type":"offer","items":[{"name":"a","kind":"file","unlink":{"path":"/","dev":1}}]}`: "member items[0].unlink.dev must be an unsigned decimal number of 64 bits, in a string, and is 1",
		`{"type":"offer","items":[{"kind":"listener","keepAliveConfig":{"idle":"1s"}}]}`:      `member items[0].keepAliveConfig.idle must be a whole number of at most 64 bits, and is "1s"`,
		`{"type":"prepared","receipts":[{},{"ino":"-1"}]}`:                                    `member receipts[1].ino must be an unsigned decimal number of 64 bits, in a string, and is "-1"`,
		`{"type":"prepared","receipts":[],"sections":["a"]}`:                                  `member sections[0] must be an object, and is "a"`,
		`{"type":"state","name":"a","size":1}`:                                                "member size must be a decimal number of 64 bits, in a string, and is 1",
		`{"type":"conns","records":"?"}`:                                                      `member records must be a string in base64, and is "?"`,
		`{"type":"busy","owner":-1}`:                                                          "owner -1 is not within",
		`{"type":"prepared","receipts":[{},{"flags":-1}]}`:                                    "receipt 1: malformed frame: flags -1 is not within",
		`{"type":"confirm","takes":[{"item":-1}]}`:                                            "take 0: malformed frame: item -1 is not within",
		`{"type":"offer","items":[{"name":"a","kind":"listener","address":":80"}]}`:           "item 0: malformed frame: a listener without network",
		`{"type":"taken","refused":"` + strings.Repeat("a", MaxReason+1) + `"}`:               "refused of 4097 bytes",
	} {
		if _, err := Decode([]byte(frame)); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s\n\tgot  %v\n\twant ... %s", frame, err, want)
		}
	}
}
