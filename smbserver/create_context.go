package smbserver

import (
	"encoding/binary"

	"github.com/uringfs/uringfs/internal/fscc"
	"github.com/uringfs/uringfs/internal/smb2"
)

const (
	statusNoneMapped      smb2.Status = 0xC0000073 // STATUS_NONE_MAPPED: the file has not changed since the client's MxAc
	contextNameMin                    = 4          // bytes: the shortest name of 2.2.13.2
	statusEAsNotSupported smb2.Status = 0xC000004F // STATUS_EAS_NOT_SUPPORTED
)

// createContexts is what this server takes from the list of a CREATE, [MS-SMB2] 3.3.5.9. Leases and durable handles are not
// granted, which is said by not answering their contexts; names that are not known are ignored, as the section demands.
type createContexts struct {
	queryID    bool // QFid
	maximal    bool // MxAc
	unchanged  fscc.Filetime
	allocation int64 // AlSi; -1: none
	hasEAs     bool  // ExtA with at least one entry
}

func parseCreateContexts(list []smb2.CreateContext) (createContexts, error) {
	c := createContexts{allocation: -1}
	for _, x := range list {
		if len(x.Name) < contextNameMin {
			return c, smb2.StatusInvalidParameter
		}
	}
	if data, ok := smb2.FindContext(list, smb2.ContextMxAc); ok {
		switch len(data) {
		case 0:
		case 8:
			c.unchanged = fscc.Filetime(int64(binary.LittleEndian.Uint64(data)))
		default:
			return c, smb2.StatusInvalidParameter
		}
		c.maximal = true
	}
	if data, ok := smb2.FindContext(list, smb2.ContextQFid); ok {
		if len(data) != 0 {
			return c, smb2.StatusInvalidParameter
		}
		c.queryID = true
	}
	if data, ok := smb2.FindContext(list, smb2.ContextAlSi); ok {
		if len(data) != 8 {
			return c, smb2.StatusInvalidParameter
		}
		c.allocation = int64(binary.LittleEndian.Uint64(data))
		if c.allocation < 0 { // a size past 2^63
			return c, smb2.StatusInvalidParameter
		}
	}
	if data, ok := smb2.FindContext(list, smb2.ContextExtA); ok && len(data) > 0 {
		if _, err := fscc.ParseFullEAInfo(data); err != nil {
			return c, err
		}
		c.hasEAs = true
	}
	if _, ok := smb2.FindContext(list, smb2.ContextTWrp); ok {
		return c, smb2.StatusObjectNameNotFound // there are no snapshots, so none of that time, 3.3.5.9.4
	}
	for _, name := range []string{smb2.ContextDHnC, smb2.ContextDH2C} {
		if _, ok := smb2.FindContext(list, name); ok {
			return c, smb2.StatusObjectNameNotFound // no handle survives its connection, 3.3.5.9.7 and .12
		}
	}
	return c, nil
}

// answerMaximal is the answer to MxAc, 2.2.14.2.5: a status, and the mask if that is success.
func answerMaximal(a Attr, unchanged fscc.Filetime, mask smb2.AccessMask) smb2.CreateContext {
	m := smb2.MaximalAccessResponse{MaximalAccess: mask}
	if unchanged.IsTime() && unchanged == fscc.NewFiletime(a.Written) {
		m = smb2.MaximalAccessResponse{QueryStatus: statusNoneMapped}
	}
	return smb2.CreateContext{Name: smb2.ContextMxAc, Data: m.Append(nil)}
}

// answerQueryID is the answer to QFid, 2.2.14.2.9.
func answerQueryID(index uint64, id FileID) smb2.CreateContext {
	return smb2.CreateContext{Name: smb2.ContextQFid, Data: smb2.DiskIDResponse{DiskFileID: index, VolumeID: id.Volume}.Append(nil)}
}
