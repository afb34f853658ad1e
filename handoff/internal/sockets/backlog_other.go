//go:build !linux

package sockets

func (o *Socket) noteBacklog() {}
