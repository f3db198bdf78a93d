package datapath

import "context"

// Lend is the path of [PathUnsafeSplice]: it takes up to n bytes at off by reference. It returns nil, and no error, where
// there is nothing at off. What it returns is the caller's to release.
//
// The bytes are fixed only when the receiver has taken them off the socket: until then a write to the file, a truncation or a
// hole shows through. That is why the path has "unsafe" in its name, and why nothing signed may take it.
func Lend(ctx context.Context, f Referencer, off int64, n int) (Payload, error) {
	p, err := f.Reference(ctx, off, n)
	if err != nil {
		return nil, err
	}
	if p.Len() == 0 {
		p.Release()
		return nil, nil //nolint:nilnil // the end of file is no error
	}
	return p, nil
}
