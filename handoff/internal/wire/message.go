// Package wire is the protocol's language: what two generations say to each other, encoded, decoded and bounded. It does
// no input or output. docs/protocol.md is the specification.
//
// One frame is one message of a SOCK_SEQPACKET socket: one JSON object of at most [MaxFrame] bytes, in UTF-8, whose
// member "type" says which. Descriptors travel beside it, or are taken by the numbers in it (feature "pull").
//
// # Versions
//
// Version 1 is the first. A peer of the same version may send members that we do not know; they are ignored. It sends
// no type of frame that we do not know unless HELLO and WELCOME agreed on a feature that has it. A change that an old
// peer would misread is a new version: [Hello] lists all versions that a side speaks and [Welcome] picks one.
package wire

import (
	"encoding/json"
	"time"
)

// Version is the version of the protocol that this package speaks. Version 2 will make it 2 and Versions {2, 1}; what
// differs then goes into a second table of types beside newMessage, in types.go.
const Version = 1

// Bounds of version 1. A frame that breaks one is [ErrMalformed].
const (
	MaxFrame    = 64 << 10 // bytes of one frame
	MaxItems    = 253      // items of one OFFER, for each has a descriptor, see SCM_MAX_FD
	MaxReceipts = 253      // receipts of one PREPARED
	MaxSockets  = 65536    // items of all OFFERs together, and batches
	MaxName     = 255      // bytes of a name, phase, feature, network or code
	MaxAddress  = 255      // bytes of an address
	MaxPath     = 4096     // bytes of a file's path, as PATH_MAX
	MaxVersions = 16       // versions of one HELLO or REFUSE
	MaxFeatures = 32       // features of one HELLO or WELCOME
	MaxSections = 64       // sections of state of one generation
	MaxReason   = 4096     // bytes of a reason; Encode truncates a longer one
	MaxDepth    = 16       // objects and arrays within each other
	MaxTakes    = 1024     // takes of one CONFIRM
	MaxConns    = 253      // connections of one CONNS, for each is a descriptor
	MaxRecords  = 48_000   // bytes of the records of one CONNS, which fit a frame in base64
	MaxState    = 32 << 10 // bytes of the state of one connection
	MaxReport   = 56 << 10 // bytes of the body of one REPORT
	MaxHandoff  = 64       // bytes of the ID of a handoff
)

// Message is a pointer to one of the structs of this package.
type Message interface {
	// Type is the frame's member "type".
	Type() string
	// check returns an error that is ErrMalformed if m breaks a bound.
	check() error
}

// Kinds of [Item].
const (
	KindListener   = "listener"   // stream or seqpacket socket that accepts
	KindPacket     = "packet"     // datagram socket
	KindFile       = "file"       // anything else
	KindRendezvous = "rendezvous" // the listener on which successors call
	KindStdout     = "stdout"     // the incumbent's own standard output, for a child whose output is captured
	KindStderr     = "stderr"     // likewise
)

// Codes of [Refuse]. Another side may use others.
const (
	CodeVersion      = "version"      // no version in common
	CodeUnauthorized = "unauthorized" // not one whom we trust
	CodeMalformed    = "malformed"    // not understood
	CodeStopping     = "stopping"     // the incumbent stops for good
	CodeTransport    = "transport"    // no way in common to move descriptors
	CodeDescriptors  = "descriptors"  // the incumbent has none left
	CodeUnsupported  = "unsupported"  // the incumbent never hands over, or never to this caller
)

// Hello is the successor's first frame.
type Hello struct {
	Versions []int    `json:"versions"` // that the successor speaks, at least one
	Features []string `json:"features,omitempty"`
	Name     string   `json:"name"` // the program, for the operator
	PID      int      `json:"pid"`  // as the successor itself sees it, for the operator; the kernel is asked for who it is
	// DryRun: the successor takes what is offered, and will never own. An incumbent that names the feature "dry-run" ends the
	// handoff by ABORT when it has compared the receipts.
	DryRun bool `json:"dryRun,omitempty"`
}

// Welcome answers HELLO. One descriptor comes with it: the token, an eventfd; or none, if it says where that is.
type Welcome struct {
	Version    int      `json:"version"`            // the highest in common
	Features   []string `json:"features,omitempty"` // in common
	Generation int      `json:"generation"`         // the successor's number
	Name       string   `json:"name"`
	PID        int      `json:"pid"`
	// Heir says that no older generation can be revived: if the incumbent ends before COMMIT, the successor may take the
	// token without.
	Heir bool `json:"heir,omitempty"`
	// StateWithin is, if the incumbent has sections, or something to let go of before COMMIT, how many milliseconds that may
	// take in each of the two phases.
	StateWithin int64 `json:"stateWithin,omitempty"`
	// Descriptor is, if the sides agreed on the feature "pull-token" and the token cannot be sent, its number in the
	// incumbent. The successor takes it and answers TAKEN.
	Descriptor int `json:"descriptor,omitempty"`
	// Sections are, if the sides agreed on the feature "state", the names of all that the incumbent has; none if they do not
	// fit the frame.
	Sections []string `json:"sections,omitempty"`
	// Handoff is, if the sides agreed on the feature "timeline", the ID of this handoff.
	Handoff string `json:"handoff,omitempty"`
}

// Wait answers HELLO when the answer proper takes a while: it was heard.
type Wait struct {
	Phase string `json:"phase"`
}

// Busy answers HELLO when another upgrade is under way.
type Busy struct {
	PID   int    `json:"pid"`   // the process that is in the way
	Name  string `json:"name"`  // its program
	Phase string `json:"phase"` // how far it is
	Owner int    `json:"owner"` // process id of the incumbent
}

// Refuse answers HELLO: no.
type Refuse struct {
	Code     string `json:"code"`
	Versions []int  `json:"versions,omitempty"` // that the incumbent speaks
	Reason   string `json:"reason,omitempty"`
}

// Offer is one batch of the incumbent's manifest. The descriptors that come with it are parallel to Items.
type Offer struct {
	Batch int    `json:"batch"` // from 0
	Last  bool   `json:"last"`
	Items []Item `json:"items"`
}

// Item describes one descriptor.
type Item struct {
	Name            string           `json:"name"` // what the program calls it
	Kind            string           `json:"kind"`
	Network         string           `json:"network,omitempty"` // as asked for
	Address         string           `json:"address,omitempty"` // as asked for
	KeepAlive       time.Duration    `json:"keepAlive,omitempty"`
	KeepAliveConfig *KeepAliveConfig `json:"keepAliveConfig,omitempty"`
	Unlink          *Unlink          `json:"unlink,omitempty"`
	UnlinkOnClose   bool             `json:"unlinkOnClose,omitempty"`
	Bound           bool             `json:"bound,omitempty"` // by segue, which may listen again

	// Descriptor is, if the sides agreed on the feature "pull", the item's number in the incumbent, and what follows is
	// what the successor must find there. See [Receipt].
	Descriptor int    `json:"descriptor,omitempty"`
	Cookie     uint64 `json:"cookie,string,omitempty"`
	Dev        uint64 `json:"dev,string,omitempty"`
	Ino        uint64 `json:"ino,string,omitempty"`
}

// KeepAliveConfig has the fields of net.KeepAliveConfig in their order, so that one converts to the other. Times are in
// nanoseconds.
type KeepAliveConfig struct {
	Enable   bool          `json:"enable"`
	Idle     time.Duration `json:"idle,omitempty"`
	Interval time.Duration `json:"interval,omitempty"`
	Count    int           `json:"count,omitempty"`
}

// Unlink names the file that a bind made. It has the fields of listener.UnixPath in their order, so that one converts to
// the other. The numbers are strings because they need not fit the 53 bits that other languages read.
type Unlink struct {
	Path  string `json:"path"`
	Dev   uint64 `json:"dev,string"`
	Ino   uint64 `json:"ino,string"`
	Ctime int64  `json:"ctime,string"` // nanoseconds
}

// Taken says that the descriptors of a batch, of OFFER or of CONNS, have arrived.
type Taken struct {
	Batch int `json:"batch"`
	// Refused says why the successor does not have them. Of an OFFER, if the sides agreed on the feature "pull", the
	// incumbent sends the same batch again, with its descriptors, and the rest likewise. Of CONNS, the connections stay.
	Refused string `json:"refused,omitempty"`
	// Room is, of CONNS, for how many more connections the successor has descriptors, after this batch.
	Room int `json:"room,omitempty"`
}

// Prepared is one batch of the successor's receipts, sent when its program is ready.
type Prepared struct {
	Batch    int       `json:"batch"` // from 0
	Last     bool      `json:"last"`
	Receipts []Receipt `json:"receipts"`
	// ConfirmWithin is, in the last batch, how many milliseconds after OWNED to expect CONFIRM, or 0.
	ConfirmWithin int64 `json:"confirmWithin,omitempty"`
	// Sections are, if the sides agreed on the feature "state", what the successor can restore, over all batches.
	Sections []Section `json:"sections,omitempty"`
}

// Section is a named part of a program's state, and what the successor can do with it.
type Section struct {
	Name  string `json:"name"`
	Ahead bool   `json:"ahead,omitempty"` // restore what is sent while the incumbent serves
	Gap   bool   `json:"gap,omitempty"`   // restore what is saved while nobody serves
}

// Receipt is the successor's proof that it has an item. The numbers are strings, see [Unlink].
type Receipt struct {
	Item    int    `json:"item"` // its index over all batches of OFFER
	Claimed bool   `json:"claimed"`
	Cookie  uint64 `json:"cookie,string"` // SO_COOKIE, or 0
	Dev     uint64 `json:"dev,string"`
	Ino     uint64 `json:"ino,string"`
	Flags   int    `json:"flags"` // the access mode of F_GETFL
}

// State is one section. One descriptor comes with it, a sealed memfd.
type State struct {
	Name  string `json:"name"`
	Size  int64  `json:"size,string"`     // bytes in the memfd
	Ahead bool   `json:"ahead,omitempty"` // sent while the incumbent serves; otherwise in the gap
}

// Saved says that all sections of a phase have been sent.
type Saved struct {
	Ahead bool `json:"ahead,omitempty"`
}

// Restored answers SAVED: the successor has restored all of them.
type Restored struct {
	Ahead bool `json:"ahead,omitempty"`
}

// Commit is the permission to read the token.
type Commit struct{}

// Owned says that the successor has read the token and accepts.
type Owned struct{}

// Confirm says that the successor is well. Its members are there if the sides agreed on the feature "conns". With the feature
// "return", an incumbent that has got the sockets back says it to who gave them.
type Confirm struct {
	Takes []Take `json:"takes,omitempty"` // whose connections the sender can go on with
	Room  int    `json:"room,omitempty"`  // for how many connections it has descriptors
}

// Take says that the sender can go on with the connections of a listener.
type Take struct {
	Item     int    `json:"item"`     // the listener: its index over all batches of OFFER
	Protocol string `json:"protocol"` // what its server there speaks
}

// Conns is a batch of connections, each with a descriptor beside the frame and a record: those of a listener, or those
// that the program gave under a name. They go to who has said CONFIRM.
type Conns struct {
	Batch    int    `json:"batch"`              // from 0; after 65,535 comes 0
	Item     int    `json:"item,omitempty"`     // the listener, as in Take
	Protocol string `json:"protocol,omitempty"` // as in Take; empty: given by the program
	Name     string `json:"name,omitempty"`     // under which the program gave them
	Records  []byte `json:"records"`            // see AppendRecord; in base64
}

// Failed ends the attempt from the successor's side.
type Failed struct {
	Reason   string `json:"reason,omitempty"`
	Returned bool   `json:"returned,omitempty"` // it had owned, and has put the token back
}

// Abort ends the attempt from the incumbent's side; nothing happened.
type Abort struct {
	Reason string `json:"reason,omitempty"`
	DryRun bool   `json:"dryRun,omitempty"` // nothing is wrong: the successor asked for a dry run
}

// Release asks an ancestor to give up revival.
type Release struct{}

// Released answers RELEASE.
type Released struct{}

// Drop says that the successor closed a socket that it had inherited.
type Drop struct {
	Item int `json:"item"` // its index over all batches of OFFER
}

// Ping asks for PONG.
type Ping struct{}

// Pong answers PING.
type Pong struct{}

// Upgrade passes on what the incumbent was asked for when it was too late: the successor starts an upgrade of its own. It is
// sent if the sides agreed on the feature "upgrade".
type Upgrade struct{}

// Report is for people: records of handoffs, and what generations do. Either side may send one at any time after WELCOME, if they
// agreed on the feature "timeline", and nothing follows from it.
type Report struct {
	Body json.RawMessage `json:"body"` // an object, see package chronicle
}

// Retire asks a generation that drains to end its drain, as if its time were over: the incumbent, or one before it, to which the
// incumbent passes it on. It is sent if the sides agreed on the feature "retire", and nothing answers it.
type Retire struct {
	Generation int `json:"generation"` // which
}

// Bye is the last word of an incumbent that is drained and exits.
type Bye struct{}

// Goodbye is the last word of a side that stops for good because somebody wants it to.
type Goodbye struct {
	Reason string `json:"reason,omitempty"`
}
