package smbserver

import (
	"strings"

	"github.com/uringfs/uringfs/internal/smb2"
)

// export is a share as the server serves it. One exists per share, for all connections.
type export struct {
	name  string // as configured
	share Share  // nil for IPC$
	modes *shareModes
}

// ipc tells whether the export is the server's own IPC$.
func (e *export) ipc() bool { return e.share == nil }

// tree is one entry of the tree connect table, [MS-SMB2] 3.3.1.9: a session's use of an export. It is immutable.
type tree struct {
	id     uint32
	export *export
}

// access is what a tree connection allows at most.
func (t *tree) access() smb2.AccessMask { return smb2.FileAllAccess }

// exports builds the table of shares, keyed by the folded name.
func exports(shares map[string]Share) map[string]*export {
	m := make(map[string]*export, len(shares)+1)
	for name, share := range shares {
		m[strings.ToUpper(name)] = &export{name: name, share: share, modes: newShareModes()}
	}
	m[ipcName] = &export{name: ipcName, modes: newShareModes()}
	return m
}

// shareOfUNC cuts the share's name out of \\server\share, where server may be anything, with a port or without: a client
// names the server as it found it, and there is only one here.
func shareOfUNC(path string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(path, `\\`)
	if !ok {
		return "", false
	}
	server, name, ok := strings.Cut(rest, `\`)
	if !ok || server == "" || name == "" || strings.Contains(name, `\`) {
		return "", false
	}
	return name, true
}
