// Package uring is the raw io_uring ABI: setup, the three mappings, submission and completion records, enter, register,
// and the rings of provided buffers. It holds no policy: it does not retry, wait, count or choose.
//
// It promises that every load and store of memory shared with the kernel is atomic and names the kernel store or
// load it pairs with, that a completion is copied out before its place is given back, and that Close unmaps and
// closes exactly what Open made. Each name says with which kernel it came; what an older one answers (EINVAL, mostly)
// is handed on.
//
// It leaves to its caller: who may use a Ring (it has no lock; its comment says who may do what at once), that no more
// operations are in flight than the completion queue holds, to call again after EINTR, and that memory whose address
// stands in an SQE, a registered buffer or a PbufRing stays alive and in place until the kernel is done with it. These
// addresses lie where the garbage collector does not look, so they keep nothing alive.
//
// Ownership: Push, Next and the register calls copy; nothing is lent. Descriptors are borrowed.
package uring
