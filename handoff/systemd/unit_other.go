//go:build !linux

package systemd

func sameUnit(int) bool { return true }

func (s *Service) sendMainPidFD(int, string) bool { return false }
