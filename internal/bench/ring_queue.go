//go:build linux

package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/uringfs/uringfs/uringbackend"
)

// queueLoad is one goroutine that keeps depth reads in flight by a Queue of the engine: each that completes is followed
// by another into the same buffer.
func queueLoad(o Options, engine uringbackend.Engine, fd, depth int) side {
	return func(context.Context) (sample, error) {
		blocks, release, err := alignedBlocks(depth)
		if err != nil {
			return nil, err
		}
		defer release()
		q, err := engine.NewQueue(uringbackend.QueueConfig{Entries: depth})
		if err != nil {
			return nil, fmt.Errorf("queue: %w", err)
		}
		defer q.Close()
		offsets := newOffsets(0)
		prepare := func(i uint64) error {
			op := uringbackend.Op{Kind: uringbackend.KindReadAt, FD: fd, Buf: blocks[i], Offset: offsets.next()}
			if err := q.Prepare(op, i); err != nil {
				return fmt.Errorf("prepare: %w", err)
			}
			return nil
		}
		return timedReads(func() (reads int, err error) {
			end := time.Now().Add(o.Sample)
			inFlight := 0
			for i := range depth {
				if err := prepare(uint64(i)); err != nil {
					return 0, err
				}
				inFlight++
			}
			for more := true; inFlight > 0; {
				// Nothing to cancel: a sample ends by itself, as the peers' do.
				if _, err := q.Wait(context.Background(), 1); err != nil {
					return reads, fmt.Errorf("wait: %w", err)
				}
				more = more && time.Now().Before(end)
				for {
					c, ok := q.Next()
					if !ok {
						break
					}
					inFlight--
					if c.Err != nil || c.N != blockSize {
						return reads, fmt.Errorf("read: %d, %w", c.N, c.Err)
					}
					reads++
					if !more {
						continue
					}
					if err := prepare(c.Tag); err != nil {
						return reads, err
					}
					inFlight++
				}
			}
			return reads, nil
		})
	}
}
