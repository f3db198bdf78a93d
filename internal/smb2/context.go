package smb2

// Names of create contexts, [MS-SMB2] 2.2.13.2; the GUID-named ones are the sixteen bytes of the GUID.
const (
	ContextExtA      = "ExtA" // extended attributes
	ContextSecD      = "SecD" // security descriptor
	ContextDHnQ      = "DHnQ" // durable handle request
	ContextDHnC      = "DHnC" // durable handle reconnect
	ContextAlSi      = "AlSi" // allocation size
	ContextMxAc      = "MxAc" // maximal access
	ContextTWrp      = "TWrp" // snapshot
	ContextQFid      = "QFid" // on-disk id
	ContextRqLs      = "RqLs" // lease, v1 and v2
	ContextDH2Q      = "DH2Q" // durable handle request v2
	ContextDH2C      = "DH2C" // durable handle reconnect v2
	ContextAAPL      = "AAPL" // Apple's extensions
	ContextAppInstID = "\x45\xBC\xA6\x6A\xEF\xA7\xF7\x4A\x90\x08\xFA\x46\x2E\x14\x4D\x74"
	ContextAppInstVr = "\xB9\x82\xD0\xB7\x3B\x56\x07\x4F\xA0\x7B\x52\x4A\x81\x16\xA0\x10"
	ContextSVHDX     = "\x9C\xCB\xCF\x9E\x04\xC1\xE6\x43\x98\x0E\x15\x8D\xA1\xF6\xEC\x83"
	ContextPosixOpen = "\x93\xAD\x25\x50\x9C\xB4\x11\xE7\xB4\x23\x83\xDE\x96\x8B\xCD\x7C"
)

// CreateContext is one entry of the list that CREATE carries in both directions.
type CreateContext struct {
	Name string // bytes, as they are on the wire; at most 255
	Data []byte
}

// FindContext returns the data of the first context called name. A context without data is found with nil or empty data.
func FindContext(list []CreateContext, name string) (data []byte, ok bool) {
	for _, c := range list {
		if c.Name == name {
			return c.Data, true
		}
	}
	return nil, false
}

const (
	// MaxCreateContexts bounds the list; the specification defines sixteen.
	MaxCreateContexts  = 32
	createContextFixed = 16
	maxContextName     = 255 // names are 4 or 16 bytes
)

// ParseCreateContexts parses a list of create contexts. Next must be a multiple of 8 and move forward; name and data must
// lie inside their entry, behind its fixed part. Data aliases b.
func ParseCreateContexts(b []byte) ([]CreateContext, error) {
	var list []CreateContext
	for len(b) > 0 {
		if len(b) < createContextFixed {
			return nil, malformed("create context %d in %d bytes", len(list), len(b))
		}
		if len(list) == MaxCreateContexts {
			return nil, malformed("more than %d create contexts", MaxCreateContexts)
		}
		next := le.Uint32(b)
		entry := b
		if next != 0 {
			if next%8 != 0 || next < createContextFixed || uint64(next) >= uint64(len(b)) {
				return nil, malformed("create context %d: Next %d of %d bytes", len(list), next, len(b))
			}
			entry = b[:next:next]
		}
		if n := le.Uint16(entry[6:]); n > maxContextName {
			return nil, malformed("create context name of %d bytes", n)
		}
		name, err := region(entry, "create context name", createContextFixed, uint32(le.Uint16(entry[4:])), uint32(le.Uint16(entry[6:])))
		if err != nil {
			return nil, err
		}
		data, err := region(entry, "create context data", createContextFixed, uint32(le.Uint16(entry[10:])), le.Uint32(entry[12:]))
		if err != nil {
			return nil, err
		}
		list = append(list, CreateContext{Name: string(name), Data: data})
		if next == 0 {
			break
		}
		b = b[next:]
	}
	return list, nil
}

// AppendCreateContexts appends the list, entries aligned to 8 from where it starts; contexts beyond the thirty-second are left out.
// The last entry has no padding.
func AppendCreateContexts(b []byte, list []CreateContext) []byte {
	list = list[:min(len(list), MaxCreateContexts)]
	start := len(b)
	for i, c := range list {
		entry := len(b)
		name := c.Name[:min(len(c.Name), maxContextName)]
		b = appendZeros(b, createContextFixed)
		le.PutUint16(b[entry+4:], createContextFixed)
		le.PutUint16(b[entry+6:], uint16(len(name)&maxContextName))
		b = append(b, name...)
		if len(c.Data) > 0 {
			b = alignFrom(b, entry)
			le.PutUint16(b[entry+10:], uint16(len(b)-entry)) //nolint:gosec // the name is short
			le.PutUint32(b[entry+12:], len32(len(c.Data)))
			b = append(b, c.Data...)
		}
		if i < len(list)-1 {
			b = alignFrom(b, start)
			le.PutUint32(b[entry:], len32(len(b)-entry))
		}
	}
	return b
}
