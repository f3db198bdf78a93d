package smbserver

import (
	"errors"
	"time"
)

// Bounds that are not for the administrator to change.
const (
	// maxFramePreauth bounds a frame before the first logon: a NEGOTIATE or SESSION_SETUP with a 64 KiB token.
	maxFramePreauth = 64<<10 + 256
	// frameSlack is what a frame may hold beyond MaxWrite: headers, and compounds of smaller requests.
	frameSlack = 64 << 10
	// size202 bounds one transfer in the dialect that has no multi-credit requests, [MS-SMB2] 3.3.5.4.
	size202 = 64 << 10
	// creditUnit is the payload that one credit pays for, [MS-SMB2] 3.1.5.2.
	creditUnit = 64 << 10
	// maxTransferCeiling keeps every length of a frame inside the 24 bits of the transport header.
	maxTransferCeiling = 8 << 20
	// compoundFlush is how long a compound reply may grow before it is sent and another one begun.
	compoundFlush = 1 << 20
	// failedLogonPause slows down whoever guesses passwords on one connection.
	failedLogonPause = 500 * time.Millisecond
	// readBufferSize holds a burst of small requests; of a large frame at most so much is copied once.
	readBufferSize = 8 << 10
)

// DefaultLimits returns the bounds that zero fields of [Config.Limits] stand for.
func DefaultLimits() Limits {
	return Limits{
		MaxRead: 8 << 20, MaxWrite: 8 << 20, MaxTransact: 8 << 20,
		Connections: 1024, ConnectionsPerIP: 256, HalfOpen: 256, HalfOpenPerIP: 64,
		Sessions: 64, Trees: 256, Opens: 16384, Credits: 8192, Pending: 512, Compound: 64,
		BadSignatures: 5, FailedLogons: 10,
		LogonTimeout: 30 * time.Second, WriteTimeout: 2 * time.Minute,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct {
		value *uint32
		def   uint32
	}{{&l.MaxRead, d.MaxRead}, {&l.MaxWrite, d.MaxWrite}, {&l.MaxTransact, d.MaxTransact}} {
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	for _, f := range []struct {
		value *int
		def   int
	}{
		{&l.Connections, d.Connections},
		{&l.ConnectionsPerIP, d.ConnectionsPerIP},
		{&l.HalfOpen, d.HalfOpen},
		{&l.HalfOpenPerIP, d.HalfOpenPerIP},
		{&l.Sessions, d.Sessions},
		{&l.Trees, d.Trees},
		{&l.Opens, d.Opens},
		{&l.Credits, d.Credits},
		{&l.Pending, d.Pending},
		{&l.Compound, d.Compound},
		{&l.BadSignatures, d.BadSignatures},
		{&l.FailedLogons, d.FailedLogons},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	if l.LogonTimeout == 0 {
		l.LogonTimeout = d.LogonTimeout
	}
	if l.WriteTimeout == 0 {
		l.WriteTimeout = d.WriteTimeout
	}
	return l
}

func (l Limits) check() error {
	for _, n := range []uint32{l.MaxRead, l.MaxWrite, l.MaxTransact} {
		if n < 64<<10 || n > maxTransferCeiling {
			// Smaller values make clients disconnect, [MS-SMB2] 3.2.5.2.
			return errors.New("transfer sizes must be 64 KiB to 8 MiB")
		}
	}
	for _, n := range []int{
		l.Connections, l.ConnectionsPerIP, l.HalfOpen, l.HalfOpenPerIP, l.Sessions, l.Trees, l.Opens, l.Credits,
		l.Pending, l.Compound, l.BadSignatures, l.FailedLogons,
	} {
		if n < 1 {
			return errors.New("a limit is negative")
		}
	}
	if l.Credits > maxCredits {
		return errors.New("more credits than a MessageId window holds")
	}
	if l.LogonTimeout < 0 || l.WriteTimeout < 0 {
		return errors.New("a timeout is negative")
	}
	return nil
}
