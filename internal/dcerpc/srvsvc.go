package dcerpc

// Operation numbers of srvsvc, [MS-SRVS] 3.1.4.
const (
	OpNetShareEnumAll uint16 = 15
	OpNetShareGetInfo uint16 = 16
)

// Types of a share, [MS-SRVS] 2.2.2.4.
const (
	ShareTypeDisk    uint32 = 0x00000000
	ShareTypeIPC     uint32 = 0x00000003
	ShareTypeSpecial uint32 = 0x80000000
)

// Win32 error codes that srvsvc calls return.
const (
	ErrorSuccess          uint32 = 0
	ErrorAccessDenied     uint32 = 5
	ErrorInvalidParameter uint32 = 87
	ErrorInvalidLevel     uint32 = 124
	ErrorNetNameNotFound  uint32 = 2310
)

// maxShares bounds the array of an answer by the size of a PDU anyway; this names the bound.
const maxShares = 4096

// ShareInfo is one share, SHARE_INFO_0 and SHARE_INFO_1: level 0 has the name only.
type ShareInfo struct {
	Name    string
	Type    uint32
	Comment string
}

// NetShareEnumAllRequest is the input of NetShareEnumAll (NetrShareEnum), [MS-SRVS] 3.1.4.8.
type NetShareEnumAllRequest struct {
	ServerName      string // empty: none given
	Level           uint32
	PreferredLength uint32 // bytes
	HasResume       bool
	Resume          uint32
}

// ParseNetShareEnumAllRequest parses the stub data. A container that already holds entries is malformed.
func ParseNetShareEnumAllRequest(stub []byte) (NetShareEnumAllRequest, error) {
	r := &reader{b: stub}
	var q NetShareEnumAllRequest
	if r.pointer() {
		q.ServerName = r.str()
	}
	q.Level = r.uint32()
	if level := r.uint32(); r.err == nil && level != q.Level {
		return NetShareEnumAllRequest{}, malformed("NetShareEnumAll levels %d and %d", q.Level, level)
	}
	if r.pointer() {
		if n, array := r.uint32(), r.pointer(); n != 0 {
			return NetShareEnumAllRequest{}, malformed("NetShareEnumAll with %d entries", n)
		} else if array {
			r.uint32() // maximum count of an empty array
		}
	}
	q.PreferredLength = r.uint32()
	if q.HasResume = r.pointer(); q.HasResume {
		q.Resume = r.uint32()
	}
	if r.err != nil {
		return NetShareEnumAllRequest{}, r.err
	}
	return q, nil
}

// Append appends the stub data.
func (q NetShareEnumAllRequest) Append(b []byte) []byte {
	w := newWriter(b)
	w.pointer(q.ServerName != "")
	if q.ServerName != "" {
		w.str(q.ServerName)
	}
	w.uint32(q.Level)
	w.uint32(q.Level)
	w.pointer(true)
	w.uint32(0)
	w.pointer(false)
	w.uint32(q.PreferredLength)
	w.pointer(q.HasResume)
	if q.HasResume {
		w.uint32(q.Resume)
	}
	return w.b
}

// NetShareEnumAllResponse is the output of NetShareEnumAll at level 0 or 1.
type NetShareEnumAllResponse struct {
	Level     uint32
	Shares    []ShareInfo // at most 4096
	Total     uint32
	HasResume bool
	Resume    uint32
	Status    uint32 // a Win32 error code
}

// ParseNetShareEnumAllResponse parses the stub data; levels above 1 are malformed, unless they come without entries.
func ParseNetShareEnumAllResponse(stub []byte) (NetShareEnumAllResponse, error) {
	r := &reader{b: stub}
	p := NetShareEnumAllResponse{Level: r.uint32()}
	if level := r.uint32(); r.err == nil && level != p.Level {
		return NetShareEnumAllResponse{}, malformed("NetShareEnumAll levels %d and %d", p.Level, level)
	}
	if r.pointer() {
		n, array := r.uint32(), r.pointer()
		if array {
			p.Shares = r.shares(p.Level, n)
		} else if n != 0 {
			return NetShareEnumAllResponse{}, malformed("NetShareEnumAll with %d entries and no array", n)
		}
	}
	p.Total = r.uint32()
	if p.HasResume = r.pointer(); p.HasResume {
		p.Resume = r.uint32()
	}
	p.Status = r.uint32()
	if r.err != nil {
		return NetShareEnumAllResponse{}, r.err
	}
	return p, nil
}

func (r *reader) shares(level, n uint32) []ShareInfo {
	if count := r.uint32(); r.err == nil && (count != n || n > maxShares || n > 0 && level > 1) {
		r.err = malformed("%d shares in an array of %d at level %d", n, count, level)
	}
	if r.err != nil {
		return nil
	}
	type pointers struct{ name, comment bool }
	var list []ShareInfo
	var present []pointers
	for range n {
		var s ShareInfo
		p := pointers{name: r.pointer()}
		if level == 1 {
			s.Type, p.comment = r.uint32(), r.pointer()
		}
		if r.err != nil {
			return nil
		}
		list, present = append(list, s), append(present, p)
	}
	for i, p := range present {
		if p.name {
			list[i].Name = r.str()
		}
		if p.comment {
			list[i].Comment = r.str()
		}
	}
	return list
}

// Append appends the stub data. At a level above 1 the container is empty.
func (p NetShareEnumAllResponse) Append(b []byte) []byte {
	w := newWriter(b)
	shares := p.Shares[:min(len(p.Shares), maxShares)]
	if p.Level > 1 {
		shares = nil
	}
	w.uint32(p.Level)
	w.uint32(p.Level)
	w.pointer(true)
	w.uint32(uint32(len(shares))) //nolint:gosec // at most maxShares
	w.pointer(len(shares) > 0)
	if len(shares) > 0 {
		w.uint32(uint32(len(shares))) //nolint:gosec // at most maxShares
		for _, s := range shares {
			w.share(s, p.Level)
		}
		for _, s := range shares {
			w.shareStrings(s, p.Level)
		}
	}
	w.uint32(p.Total)
	w.pointer(p.HasResume)
	if p.HasResume {
		w.uint32(p.Resume)
	}
	w.uint32(p.Status)
	return w.b
}

func (w *writer) share(s ShareInfo, level uint32) {
	w.pointer(true)
	if level == 1 {
		w.uint32(s.Type)
		w.pointer(true)
	}
}

func (w *writer) shareStrings(s ShareInfo, level uint32) {
	w.str(s.Name)
	if level == 1 {
		w.str(s.Comment)
	}
}

// NetShareGetInfoRequest is the input of NetShareGetInfo, [MS-SRVS] 3.1.4.10.
type NetShareGetInfoRequest struct {
	ServerName string // empty: none given
	NetName    string
	Level      uint32
}

// ParseNetShareGetInfoRequest parses the stub data.
func ParseNetShareGetInfoRequest(stub []byte) (NetShareGetInfoRequest, error) {
	r := &reader{b: stub}
	var q NetShareGetInfoRequest
	if r.pointer() {
		q.ServerName = r.str()
	}
	q.NetName = r.str()
	q.Level = r.uint32()
	if r.err != nil {
		return NetShareGetInfoRequest{}, r.err
	}
	return q, nil
}

// Append appends the stub data.
func (q NetShareGetInfoRequest) Append(b []byte) []byte {
	w := newWriter(b)
	w.pointer(q.ServerName != "")
	if q.ServerName != "" {
		w.str(q.ServerName)
	}
	w.str(q.NetName)
	w.uint32(q.Level)
	return w.b
}

// NetShareGetInfoResponse is the output of NetShareGetInfo at level 0 or 1, or 1005, where Share.Type is SHARE_INFO_1005's flags.
type NetShareGetInfoResponse struct {
	Level  uint32
	Found  bool // Share is there; with other levels it never is
	Share  ShareInfo
	Status uint32 // a Win32 error code
}

const levelFlags = 1005

// ParseNetShareGetInfoResponse parses the stub data.
func ParseNetShareGetInfoResponse(stub []byte) (NetShareGetInfoResponse, error) {
	r := &reader{b: stub}
	p := NetShareGetInfoResponse{Level: r.uint32()}
	if p.Found = r.pointer(); p.Found {
		switch p.Level {
		case 0, 1:
			named, commented := r.pointer(), false
			if p.Level == 1 {
				p.Share.Type, commented = r.uint32(), r.pointer()
			}
			if named {
				p.Share.Name = r.str()
			}
			if commented {
				p.Share.Comment = r.str()
			}
		case levelFlags:
			p.Share.Type = r.uint32()
		default:
			return NetShareGetInfoResponse{}, malformed("NetShareGetInfo level %d", p.Level)
		}
	}
	p.Status = r.uint32()
	if r.err != nil {
		return NetShareGetInfoResponse{}, r.err
	}
	return p, nil
}

// Append appends the stub data.
func (p NetShareGetInfoResponse) Append(b []byte) []byte {
	w := newWriter(b)
	found := p.Found && (p.Level <= 1 || p.Level == levelFlags)
	w.uint32(p.Level)
	w.pointer(found)
	switch {
	case found && p.Level == levelFlags:
		w.uint32(p.Share.Type)
	case found:
		w.share(p.Share, p.Level)
		w.shareStrings(p.Share, p.Level)
	}
	w.uint32(p.Status)
	return w.b
}
