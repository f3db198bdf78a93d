package datapath

import "fmt"

// Path is how the payload of a READ travels from the file to the socket.
type Path uint8

// The paths. The zero value is invalid.
const (
	PathInvalid Path = iota
	// PathCopy reads into a private buffer and sends that: what the client gets is what the file held during the read.
	PathCopy
	// PathUnsafeSplice hands page-cache pages to the socket by reference: a later change of the file can reach the client.
	PathUnsafeSplice
	paths
)

// Paths lists all valid paths.
func Paths() []Path { return []Path{PathCopy, PathUnsafeSplice} }

// PathCount is one more than the largest valid Path, for arrays indexed by it.
const PathCount = int(paths)

// String is the path's name in configuration, statistics and reports.
func (p Path) String() string {
	switch p {
	case PathCopy:
		return "copy"
	case PathUnsafeSplice:
		return "unsafe-splice"
	default:
		return "invalid"
	}
}

// Policy is what the administrator asked for.
type Policy uint8

// The policies. The zero value is invalid.
const (
	PolicyInvalid Policy = iota
	PolicyAuto
	PolicyCopy
	PolicyUnsafeSplice
)

// ParsePolicy reads a policy's name; "" is auto.
func ParsePolicy(name string) (Policy, error) {
	switch name {
	case "", "auto":
		return PolicyAuto, nil
	case "copy":
		return PolicyCopy, nil
	case "unsafe-splice":
		return PolicyUnsafeSplice, nil
	default:
		return PolicyInvalid, fmt.Errorf("unknown read path %q: use auto, copy or unsafe-splice", name)
	}
}

// String is the policy's name.
func (p Policy) String() string {
	switch p {
	case PolicyAuto:
		return "auto"
	case PolicyCopy:
		return "copy"
	case PolicyUnsafeSplice:
		return "unsafe-splice"
	default:
		return "invalid"
	}
}

// Reason says why a plan has its path.
type Reason uint8

// The reasons. Those after ReasonPolicy are refusals: the policy asked for another path.
const (
	ReasonInvalid   Reason = iota
	ReasonPolicy           // the policy asked for this path
	ReasonSigned           // a signature over pages that may change before they are sent would be wrong
	ReasonEncrypted        // the ciphertext is another set of bytes than the pages
	ReasonCompound         // the reply is one element among others in one buffer
	ReasonFile             // the file cannot lend its content
	ReasonTransport        // the transport cannot send a payload
	ReasonSmall            // less than a page: a copy is cheaper
	ReasonReference        // the file could not lend its content this time
	reasons
)

// ReasonCount is one more than the largest Reason, for arrays indexed by it.
const ReasonCount = int(reasons)

// String is the reason's name in statistics and logs.
func (r Reason) String() string {
	switch r {
	case ReasonPolicy:
		return "policy"
	case ReasonSigned:
		return "signed"
	case ReasonEncrypted:
		return "encrypted"
	case ReasonCompound:
		return "compound"
	case ReasonFile:
		return "file"
	case ReasonTransport:
		return "transport"
	case ReasonSmall:
		return "small"
	case ReasonReference:
		return "reference"
	default:
		return "invalid"
	}
}

// Refusal tells whether the reason refused what the policy asked for.
func (r Reason) Refusal() bool { return r > ReasonPolicy && r < reasons }

// Refusals lists the reasons that are refusals.
func Refusals() []Reason {
	var list []Reason
	for r := ReasonPolicy + 1; r < reasons; r++ {
		list = append(list, r)
	}
	return list
}

// Plan is the decision for one READ.
type Plan struct {
	Path   Path
	Reason Reason
}

// Facts is what a plan is made from.
type Facts struct {
	Policy    Policy
	Signed    bool // the reply will carry a signature
	Encrypted bool // the reply will be encrypted
	Compound  bool // the request came with others in one frame
	File      bool // the file is a Referencer
	Transport bool // the transport is a PayloadSender
	Length    int  // bytes asked for
}

// minReference is the shortest read that is sent by reference: one page.
const minReference = 4096

// Make decides. It is a pure function, so that a test can ask it everything.
func Make(f Facts) Plan {
	if f.Policy != PolicyUnsafeSplice {
		return Plan{PathCopy, ReasonPolicy}
	}
	for _, c := range [...]struct {
		holds  bool
		reason Reason
	}{
		{f.Signed, ReasonSigned},
		{f.Encrypted, ReasonEncrypted},
		{f.Compound, ReasonCompound},
		{!f.File, ReasonFile},
		{!f.Transport, ReasonTransport},
		{f.Length < minReference, ReasonSmall},
	} {
		if c.holds {
			return Plan{PathCopy, c.reason}
		}
	}
	return Plan{PathUnsafeSplice, ReasonPolicy}
}
