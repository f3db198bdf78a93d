// Package uring is the raw io_uring ABI: setup, the three mappings, submission and completion records, enter and
// register. It holds no policy: it does not retry, wait, count or choose.
//
// It promises that every load and store of memory shared with the kernel is atomic and names the kernel store or
// load it pairs with, that a completion is copied out before its place is given back, and that Close unmaps and
// closes exactly what New made.
//
// It leaves to its caller: who may use a Ring (one goroutine at a time; a Ring has no lock), that no more
// operations are in flight than the completion queue holds, and that memory whose address stands in an SQE stays
// alive and in place until the operation's last completion. An SQE lives in memory the garbage collector does
// not look at, so an address in it keeps nothing alive.
//
// Ownership: Push and Next copy; nothing is lent.
package uring
