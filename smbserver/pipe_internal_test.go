package smbserver

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/uringfs/uringfs/internal/dcerpc"
)

// FuzzSrvsvc writes anything to the pipe, in two pieces, and reads all answers. Inside the package: the bounds on what a
// pipe holds are an invariant that no message shows.
func FuzzSrvsvc(f *testing.F) {
	bind := dcerpc.Bind{
		CallID: 1, MaxXmit: 4280, MaxRecv: 4280,
		Contexts: []dcerpc.PresentationContext{{Abstract: dcerpc.SrvsvcSyntax(), Transfer: []dcerpc.SyntaxID{dcerpc.NDRSyntax()}}},
	}.Append(nil)
	const whole = dcerpc.FlagFirstFrag | dcerpc.FlagLastFrag
	enum := dcerpc.Request{Flags: whole, OpNum: dcerpc.OpNetShareEnumAll, Stub: dcerpc.NetShareEnumAllRequest{Level: 1}.Append(nil)}.Append(nil)
	info := dcerpc.Request{Flags: whole, OpNum: dcerpc.OpNetShareGetInfo, Stub: dcerpc.NetShareGetInfoRequest{NetName: "IPC$"}.Append(nil)}.Append(nil)
	f.Add(append(bind, enum...), 10)
	f.Add(append(bind, info...), len(bind))
	f.Add(append(enum, bind...), 3)
	f.Add([]byte{5, 0, 0, 3, 0x10, 0, 0, 0, 0, 0}, 5)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		p := newSrvsvc(&Server{exports: exports(nil)})
		cut = min(max(cut, 0), len(data))
		for _, part := range [][]byte{data[:cut], data[cut:]} {
			if err := p.write(t.Context(), part); err != nil {
				break
			}
		}
		require.LessOrEqual(t, len(p.in), pipeQuota)
		require.LessOrEqual(t, len(p.out), pipeAnswers)
		buf := make([]byte, 100)
		for total := 0; ; {
			n, err := p.read(t.Context(), buf)
			if err != nil && n == 0 {
				break
			}
			total += n
			require.Less(t, total, pipeAnswers*pipeQuota)
		}
		p.close()
	})
}
