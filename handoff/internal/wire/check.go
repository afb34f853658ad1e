package wire

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxPID     = math.MaxInt32
	maxVersion = 1 << 16
	maxMillis  = math.MaxInt32 // some 24 days
	maxPeriod  = time.Duration(math.MaxInt32) * time.Second
)

func outOfBounds(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// firstError is what check methods are made of: the first that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkInt(what string, n, lo, hi int64) error {
	if n < lo || n > hi {
		return outOfBounds("%s %d is not within %d and %d", what, n, lo, hi)
	}
	return nil
}

func checkString(what, s string, limit int) error {
	switch {
	case len(s) > limit:
		return outOfBounds("%s of %d bytes is longer than %d", what, len(s), limit)
	case !utf8.ValidString(s):
		return outOfBounds("%s is not UTF-8", what)
	case strings.IndexByte(s, 0) >= 0:
		return outOfBounds("%s has a NUL", what)
	}
	return nil
}

func checkProse(what, s string) error {
	if len(s) > MaxReason || !utf8.ValidString(s) { // NUL may stand there
		return outOfBounds("%s of %d bytes is longer than %d, or not UTF-8", what, len(s), MaxReason)
	}
	return nil
}

func checkVersions(vs []int, least int) error {
	if len(vs) < least || len(vs) > MaxVersions {
		return outOfBounds("%d versions are not within %d and %d", len(vs), least, MaxVersions)
	}
	for _, v := range vs {
		if err := checkInt("version", int64(v), 1, maxVersion); err != nil {
			return err
		}
	}
	return nil
}

func checkFeatures(fs []string) error {
	if len(fs) > MaxFeatures {
		return outOfBounds("%d features are more than %d", len(fs), MaxFeatures)
	}
	for _, f := range fs {
		if err := checkString("feature", f, MaxName); err != nil {
			return err
		}
	}
	return nil
}

func checkReason(s string) error   { return checkProse("reason", s) }
func checkName(s string) error     { return checkString("name", s, MaxName) }
func checkPhase(s string) error    { return checkString("phase", s, MaxName) }
func checkPID(n int) error         { return checkInt("pid", int64(n), 0, maxPID) }
func checkBatch(n int) error       { return checkInt("batch", int64(n), 0, MaxSockets-1) }
func checkProtocol(s string) error { return checkString("protocol", s, MaxName) }
func checkRoom(n int) error        { return checkInt("room", int64(n), 0, math.MaxInt32) }
func checkIndex(n int) error       { return checkInt("item", int64(n), 0, MaxSockets-1) }

func (m *Hello) check() error {
	return firstError(checkVersions(m.Versions, 1), checkFeatures(m.Features), checkName(m.Name), checkPID(m.PID))
}

func (m *Welcome) check() error {
	if len(m.Sections) > MaxSections {
		return outOfBounds("%d sections are more than %d", len(m.Sections), MaxSections)
	}
	for _, name := range m.Sections {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return firstError(
		checkInt("version", int64(m.Version), 1, maxVersion),
		checkFeatures(m.Features),
		checkInt("generation", int64(m.Generation), 1, math.MaxInt32),
		checkName(m.Name),
		checkPID(m.PID),
		checkString("handoff", m.Handoff, MaxHandoff),
		checkInt("stateWithin", m.StateWithin, 0, maxMillis),
		checkInt("descriptor", int64(m.Descriptor), 0, math.MaxInt32),
	)
}

func (m *Wait) check() error { return checkPhase(m.Phase) }

func (m *Busy) check() error {
	return firstError(checkPID(m.PID), checkName(m.Name), checkPhase(m.Phase), checkInt("owner", int64(m.Owner), 0, maxPID))
}

func (m *Refuse) check() error {
	return firstError(checkString("code", m.Code, MaxName), checkVersions(m.Versions, 0), checkReason(m.Reason))
}

func (m *Offer) check() error {
	if len(m.Items) > MaxItems {
		return outOfBounds("%d items are more than %d", len(m.Items), MaxItems)
	}
	for i := range m.Items {
		if err := m.Items[i].check(); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	return checkBatch(m.Batch)
}

func (i *Item) check() error {
	switch i.Kind {
	case KindListener, KindPacket, KindFile, KindRendezvous, KindStdout, KindStderr:
	default:
		return outOfBounds("unknown kind %.20q", i.Kind)
	}
	// What nobody could ask for would be bound anew instead, while the other side still has it.
	switch {
	case (i.Kind == KindListener || i.Kind == KindPacket) && i.Network == "":
		return outOfBounds("a %s without network", i.Kind)
	case i.Kind == KindFile && i.Name == "":
		return outOfBounds("a file without name")
	}
	err := firstError(
		checkName(i.Name),
		checkString("network", i.Network, MaxName),
		checkString("address", i.Address, MaxAddress),
		checkInt("descriptor", int64(i.Descriptor), 0, math.MaxInt32),
		checkInt("keepAlive", int64(i.KeepAlive), -int64(maxPeriod), int64(maxPeriod)), // net: negative disables
	)
	if err != nil {
		return err
	}
	if k := i.KeepAliveConfig; k != nil {
		err = firstError(
			checkInt("keepAliveConfig.idle", int64(k.Idle), -int64(maxPeriod), int64(maxPeriod)),
			checkInt("keepAliveConfig.interval", int64(k.Interval), -int64(maxPeriod), int64(maxPeriod)),
			checkInt("keepAliveConfig.count", int64(k.Count), math.MinInt32, math.MaxInt32),
		)
		if err != nil {
			return err
		}
	}
	if u := i.Unlink; u != nil {
		return checkString("unlink.path", u.Path, MaxPath)
	}
	return nil
}

func (m *Taken) check() error {
	return firstError(checkBatch(m.Batch), checkProse("refused", m.Refused), checkRoom(m.Room))
}

func (m *Prepared) check() error {
	if len(m.Receipts) > MaxReceipts {
		return outOfBounds("%d receipts are more than %d", len(m.Receipts), MaxReceipts)
	}
	for i, r := range m.Receipts {
		if err := firstError(checkIndex(r.Item), checkInt("flags", int64(r.Flags), 0, math.MaxInt32)); err != nil {
			return fmt.Errorf("receipt %d: %w", i, err)
		}
	}
	if len(m.Sections) > MaxSections {
		return outOfBounds("%d sections are more than %d", len(m.Sections), MaxSections)
	}
	for i, s := range m.Sections {
		if err := checkName(s.Name); err != nil {
			return fmt.Errorf("section %d: %w", i, err)
		}
	}
	return firstError(checkBatch(m.Batch), checkInt("confirmWithin", m.ConfirmWithin, 0, maxMillis))
}

func (m *Confirm) check() error {
	if len(m.Takes) > MaxTakes {
		return outOfBounds("%d takes are more than %d", len(m.Takes), MaxTakes)
	}
	for i, t := range m.Takes {
		if err := firstError(checkIndex(t.Item), checkProtocol(t.Protocol)); err != nil {
			return fmt.Errorf("take %d: %w", i, err)
		}
	}
	return checkRoom(m.Room)
}

func (m *Conns) check() error {
	if len(m.Records) > MaxRecords {
		return outOfBounds("records of %d bytes are longer than %d", len(m.Records), MaxRecords)
	}
	return firstError(checkBatch(m.Batch), checkIndex(m.Item), checkProtocol(m.Protocol), checkName(m.Name))
}

func (m *State) check() error {
	return firstError(checkName(m.Name), checkInt("size", m.Size, 0, math.MaxInt64))
}

func (*Saved) check() error    { return nil }
func (*Restored) check() error { return nil }

func (*Commit) check() error   { return nil }
func (*Owned) check() error    { return nil }
func (m *Failed) check() error { return checkReason(m.Reason) }
func (m *Abort) check() error  { return checkReason(m.Reason) }
func (*Release) check() error  { return nil }
func (*Released) check() error { return nil }
func (m *Drop) check() error   { return checkIndex(m.Item) }
func (*Ping) check() error     { return nil }
func (*Pong) check() error     { return nil }
func (*Upgrade) check() error  { return nil }

func (m *Report) check() error {
	if len(m.Body) > MaxReport || len(m.Body) == 0 || m.Body[0] != '{' {
		return outOfBounds("a report of %d bytes that is too long, or no object", len(m.Body))
	}
	return nil
}

func (m *Retire) check() error {
	if m.Generation < 1 {
		return outOfBounds("RETIRE of generation %d", m.Generation)
	}
	return nil
}

func (*Bye) check() error       { return nil }
func (m *Goodbye) check() error { return checkReason(m.Reason) }
