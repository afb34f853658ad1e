package fdpass

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// What /proc says in lines of "Key:\tvalue", see proc_pid_status(5) and proc_pid_fdinfo(5).

var errProc = errors.New("unknown format of a file in /proc")

// field returns the value of the line that begins with key and a colon.
func field(b []byte, key string) (string, bool) {
	for line := range bytes.Lines(b) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && name == key {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// pidOf reads the number of the process from the fdinfo of a pidfd.
func pidOf(fdinfo []byte) (int, error) {
	s, ok := field(fdinfo, "Pid")
	if !ok {
		return 0, errors.New("the descriptor is no pidfd")
	}
	pid, err := strconv.Atoi(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: Pid %q: %w", errProc, s, err)
	case pid < 0:
		return 0, ErrGone
	case pid == 0:
		return 0, errors.New("it has no number in this PID namespace")
	}
	return pid, nil
}

// status is a part of /proc/PID/status.
type status struct {
	uid, gid [4]uint32 // real, effective, saved, file system
	capPrm   uint64
	capEff   uint64
}

func parseStatus(b []byte) (status, error) {
	var st status
	for key, ids := range map[string]*[4]uint32{"Uid": &st.uid, "Gid": &st.gid} {
		s, _ := field(b, key)
		words := bufio.NewScanner(strings.NewReader(s))
		words.Split(bufio.ScanWords)
		i := 0
		for ; words.Scan() && i < len(ids); i++ {
			n, err := strconv.ParseUint(words.Text(), 10, 32)
			if err != nil {
				return status{}, fmt.Errorf("%w: %s %q: %w", errProc, key, s, err)
			}
			ids[i] = uint32(n)
		}
		if i != len(ids) {
			return status{}, fmt.Errorf("%w: %s %q", errProc, key, s)
		}
	}
	for key, caps := range map[string]*uint64{"CapPrm": &st.capPrm, "CapEff": &st.capEff} {
		s, _ := field(b, key)
		n, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			return status{}, fmt.Errorf("%w: %s %q: %w", errProc, key, s, err)
		}
		*caps = n
	}
	return st, nil
}
