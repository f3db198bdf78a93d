package smbserver

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/uringfs/uringfs/internal/smb2"
)

// connError is an error after which the connection has no meaning any more: framing, sequence or signature are broken,
// [MS-SMB2] 3.3.5.2. It is logged once and the connection is closed.
type connError struct {
	reason string // fixed text, low cardinality: the key of the log line
	err    error  // may be nil
}

func (e *connError) Error() string {
	if e.err == nil {
		return e.reason
	}
	return e.reason + ": " + e.err.Error()
}

func (e *connError) Unwrap() error { return e.err }

// statusOf maps an error of a handler to what answers the request. known is false for an error that has no place in
// the protocol: our bug, to be logged.
func statusOf(err error) (status smb2.Status, known bool) {
	if err == nil {
		return smb2.StatusSuccess, true
	}
	if errors.As(err, &status) {
		return status, true
	}
	if errors.Is(err, smb2.ErrMalformed) { // fscc's is the same value
		return smb2.StatusInvalidParameter, true
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if path, ok := errors.AsType[*PathError](err); ok {
			if s, ok := pathStatus(path.Component, errno); ok {
				return s, true
			}
		}
		if s, ok := errnoStatus(errno); ok {
			return s, true
		}
		return smb2.StatusUnexpectedIOError, false
	}
	switch {
	case errors.Is(err, context.Canceled):
		return smb2.StatusCancelled, true
	case errors.Is(err, context.DeadlineExceeded):
		return smb2.StatusIOTimeout, true
	}
	return smb2.StatusInternalError, false
}

// pathStatus holds the errnos whose meaning depends on the component that failed.
func pathStatus(c Component, errno syscall.Errno) (smb2.Status, bool) {
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP:
		if c == Parent {
			return smb2.StatusObjectPathNotFound, true
		}
	case syscall.EXDEV:
		// The kernel refused to leave the share, or to cross into another file system: to the client there is nothing.
		if c == Parent {
			return smb2.StatusObjectPathNotFound, true
		}
		return smb2.StatusObjectNameNotFound, true
	}
	return 0, false
}

// errnoStatus is the one table from errno to NTSTATUS. Its rows follow smbd where that is right; see docs/conformance.md.
// ok is false for a number that Linux does not define.
func errnoStatus(errno syscall.Errno) (status smb2.Status, ok bool) {
	switch errno {
	case 0:
		return smb2.StatusSuccess, true
	case syscall.ENOENT, syscall.ESTALE, syscall.ENODATA:
		return smb2.StatusObjectNameNotFound, true
	case syscall.ENOTDIR:
		return smb2.StatusNotADirectory, true
	case syscall.EACCES, syscall.EPERM:
		return smb2.StatusAccessDenied, true
	case syscall.EEXIST:
		return smb2.StatusObjectNameCollision, true
	case syscall.EISDIR:
		return smb2.StatusFileIsADirectory, true
	case syscall.ENOTEMPTY:
		return smb2.StatusDirectoryNotEmpty, true
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG:
		return smb2.StatusDiskFull, true
	case syscall.EROFS:
		return smb2.StatusMediaWriteProtected, true
	case syscall.EXDEV:
		return smb2.StatusNotSameDevice, true
	case syscall.ELOOP:
		return smb2.StatusObjectPathNotFound, true
	case syscall.ENAMETOOLONG, syscall.EILSEQ:
		return smb2.StatusObjectNameInvalid, true
	case syscall.EMFILE, syscall.ENFILE:
		return smb2.StatusTooManyOpenedFiles, true
	case syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOLCK, syscall.EUSERS, syscall.ENOSR, syscall.ECHILD:
		return smb2.StatusInsufficientResources, true
	case syscall.ETXTBSY, syscall.EBUSY:
		return smb2.StatusSharingViolation, true
	case syscall.EBADF, syscall.EBADFD:
		return smb2.StatusFileClosed, true
	case syscall.EIO, syscall.EREMOTEIO, syscall.EUCLEAN, syscall.EBADMSG, syscall.EPROTO, unix.EHWPOISON, syscall.ENOTRECOVERABLE,
		syscall.EOWNERDEAD:
		return smb2.StatusIODeviceError, true
	case syscall.ECANCELED:
		return smb2.StatusCancelled, true
	case syscall.EOPNOTSUPP, syscall.ENOSYS:
		return smb2.StatusNotSupported, true
	case syscall.ENOTTY:
		return smb2.StatusInvalidDeviceRequest, true
	case syscall.EINVAL, syscall.EOVERFLOW, syscall.ERANGE, syscall.EDOM, syscall.ESPIPE, syscall.E2BIG, syscall.EBADR, syscall.EBADRQC:
		return smb2.StatusInvalidParameter, true
	case syscall.EMLINK:
		return smb2.StatusFileSystemLimitation, true
	case unix.EFTYPE:
		return smb2.StatusObjectTypeMismatch, true
	case syscall.ENXIO, syscall.ENODEV, syscall.ENOTBLK, syscall.EUNATCH:
		return smb2.StatusNoSuchDevice, true
	case syscall.ENOMEDIUM, syscall.EMEDIUMTYPE:
		return smb2.StatusNoMediaInDevice, true
	case syscall.EPIPE, syscall.ESHUTDOWN, syscall.ECONNRESET, syscall.ENOTCONN, syscall.ECONNABORTED, syscall.ENOLINK, syscall.ECOMM:
		// Of a storage backend that is itself remote; the client's own connection is not meant.
		return smb2.StatusUnexpectedIOError, true
	case syscall.ETIMEDOUT, syscall.ETIME:
		return smb2.StatusIOTimeout, true
	case syscall.EDEADLK:
		return smb2.StatusFileLockConflict, true
	case syscall.EKEYEXPIRED, syscall.EKEYREVOKED, syscall.EKEYREJECTED, syscall.ENOKEY:
		// Encrypted directories answer so when their key is not loaded.
		return smb2.StatusAccessDenied, true
	case syscall.EAGAIN, syscall.EINTR, syscall.EALREADY, syscall.EINPROGRESS, syscall.ERESTART:
		// A Share retries these itself; one that reaches us is answered so that the client may try again.
		return smb2.StatusInsufficientResources, true
	}
	if unusualErrno(errno) {
		return smb2.StatusUnexpectedIOError, true
	}
	return 0, false
}

// unusualErrno lists what Linux defines and no file operation should give; naming them keeps the test of the table honest.
func unusualErrno(errno syscall.Errno) bool {
	switch errno {
	case syscall.ESRCH, syscall.ENOEXEC, syscall.EFAULT, syscall.ENOMSG, syscall.EIDRM, syscall.ECHRNG, syscall.EL2NSYNC, syscall.EL3HLT,
		syscall.EL3RST, syscall.ELNRNG, syscall.ENOCSI, syscall.EL2HLT, syscall.EBADE, syscall.EXFULL, syscall.ENOANO, syscall.EBADSLT,
		syscall.EBFONT, syscall.ENOSTR, syscall.ENONET, syscall.ENOPKG, syscall.EREMOTE, syscall.EADV, syscall.ESRMNT,
		syscall.EMULTIHOP, syscall.EDOTDOT, syscall.ENOTUNIQ, syscall.EREMCHG, syscall.ELIBACC, syscall.ELIBBAD, syscall.ELIBSCN,
		syscall.ELIBMAX, syscall.ELIBEXEC, syscall.ESTRPIPE, syscall.ENOTSOCK, syscall.EDESTADDRREQ, syscall.EMSGSIZE,
		syscall.EPROTOTYPE, syscall.ENOPROTOOPT, syscall.EPROTONOSUPPORT, syscall.ESOCKTNOSUPPORT, syscall.EPFNOSUPPORT,
		syscall.EAFNOSUPPORT, syscall.EADDRINUSE, syscall.EADDRNOTAVAIL, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.ENETRESET,
		syscall.EISCONN, syscall.ETOOMANYREFS, syscall.ECONNREFUSED, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENOTNAM,
		syscall.ENAVAIL, syscall.EISNAM, syscall.ERFKILL:
		return true
	}
	return false
}
