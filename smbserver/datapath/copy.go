package datapath

import "context"

// Copy is the path of [PathCopy]: it fills p from off on and returns how much there was. Short only at the end of file.
// After it returned, nothing but the caller can change what is in p.
func Copy(ctx context.Context, f Reader, p []byte, off int64) (int, error) {
	total := 0
	for total < len(p) {
		n, err := f.ReadAt(ctx, p[total:], off+int64(total))
		total += n
		if err != nil {
			return total, err
		}
		if n == 0 {
			break
		}
	}
	return total, nil
}
