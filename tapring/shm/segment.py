"""One segment's life: reserved creation, attaching, mapping, byte locks, unlinking.

Segments are created with posix_ipc and mapped with mmap. multiprocessing's SharedMemory, the
usual way, can neither map read-only nor map one page apart, keeps a resource tracker that before
3.13 unlinks what others still use (cpython#82300), and leaks its descriptor with a message when
a view of it is alive at its end (cpython#155003); none of that happens here.

/dev/shm is everybody's to make names in. What stands under a name of ours is looked at before it
is opened: to open a stranger's FIFO or leased file would wait for him, and a link leads anywhere.

A segment is reserved with ``posix_fallocate`` before anybody maps it: ``ftruncate`` alone reserves
nothing, and on a full /dev/shm the first touch of a page, even to read it, would kill the process
with SIGBUS.

Locks are open-file-description locks (Linux, ``F_OFD_SETLK``): they belong to the descriptor
and not to the process, and the kernel drops them when its last copy closes, however that happens.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import resource
import stat
import struct
from contextlib import suppress
from functools import partial
from typing import ClassVar, Final

import posix_ipc

from ..errors import NotPermitted, RingCorrupt, SharedMemoryFull, TapError
from .names import prefix as prefix_of

DIRECTORY: Final = "/dev/shm"
DEFAULT_MODE: Final = 0o600

# Not waiting for a FIFO's other end or for a lease to be given up, not following a link.
_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHER_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_BLOCK_BYTES: Final = 512  # of st_blocks, whatever the file system's own are
_FLOCK: Final = struct.Struct("hhqqi4x")

# What this process lacks, as opposed to what is wrong with a segment.
_OUR_LACK: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS))
_MOUNT: Final = f"mount a tmpfs at {DIRECTORY} that this user may write to"
_ADVICE: Final = {
    errno.ENOSPC: f"free some of {DIRECTORY}, enlarge it, or ask for a smaller buffer",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f), or ask for a smaller buffer",
    errno.ENOMEM: "raise the limit on address space (ulimit -v), or ask for a smaller buffer",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENOENT: _MOUNT,
    errno.EROFS: _MOUNT,
    errno.EACCES: _MOUNT,
}


class Segment:
    """An open shared-memory segment: a descriptor, its size in bytes, and what was mapped of it.

    A context manager, which an exception leaves with ``detach``; closing twice is fine.
    ``close`` does not unlink.
    """

    any_opened: ClassVar[bool] = False  # so that forks of who has none cost nothing

    def __init__(self, name: str, fd: int, size: int, owner: int) -> None:
        self._maps: list[mmap.mmap] = []
        self.fd = fd  # first of what is known, since nobody else closes it
        self.name = name
        self.size = size
        self.owner = owner  # user id

    @classmethod
    def create(
        cls, name: str, size: int, *, mode: int = DEFAULT_MODE, owner: int | None = None
    ) -> Segment:
        """Create and reserve a segment of ``size`` bytes, all zero; give it to user ``owner``.

        Raises FileExistsError where the name is taken, SharedMemoryFull where the memory cannot
        be had, NotPermitted where it cannot be given away; nothing is left behind then.
        """
        cls.any_opened = True
        try:
            shm = posix_ipc.SharedMemory(f"/{name}", posix_ipc.O_CREX, mode=mode)
        except posix_ipc.ExistentialError:
            if not os.path.isdir(DIRECTORY):  # which is the same exception
                absent = FileNotFoundError(errno.ENOENT, f"there is no {DIRECTORY}")
                raise SharedMemoryFull(_no_memory(name, size, absent)) from None
            raise FileExistsError(errno.EEXIST, "that segment exists already", name) from None
        except (posix_ipc.Error, OSError, ValueError) as error:
            raise SharedMemoryFull(_no_memory(name, size, error)) from None
        segment = cls(name, shm.fd, size, os.geteuid())
        try:
            os.fchmod(segment.fd, mode)
            if owner is not None and owner != segment.owner:
                os.fchown(segment.fd, owner, -1)
                segment.owner = owner
            _reserve(segment.fd, 0, size)
        except BaseException as error:  # also what a signal handler raises meanwhile
            segment.close()
            unlink(name)
            if isinstance(error, PermissionError):
                raise not_given(name, owner) from None
            if isinstance(error, OSError):
                raise SharedMemoryFull(_no_memory(name, size, error)) from None
            raise
        return segment

    @classmethod
    def attach(cls, name: str, *, own: bool = False) -> Segment:
        """Open a segment that exists, of whatever size it has; of this very user where ``own``.

        Raises FileNotFoundError, NotPermitted where it is another user's or no segment, and
        SharedMemoryFull where this process may open no more files, or /dev/shm is read-only.
        """
        path = f"{DIRECTORY}/{name}"
        cls.any_opened = True
        try:
            _check_kind_and_owner(name, os.lstat(path), own)
            fd = os.open(path, _OPEN)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "there is no segment", name) from None
        except OSError as error:
            raise_unless_the_kernels(error)
            raise _refusal(name, error) from None
        segment = cls(name, fd, 0, 0)  # which closes it, whatever comes
        try:
            status = os.fstat(fd)
            _check_kind_and_owner(name, status, own)
            segment.size, segment.owner = status.st_size, status.st_uid
        except BaseException:
            segment.close()
            raise
        return segment

    def map(self, offset: int, length: int, *, writable: bool) -> mmap.mmap:
        """Map ``length`` bytes from ``offset`` (a whole page). Closed together with the segment.

        Raises RingCorrupt where the segment is not that long, SharedMemoryFull where it has holes
        that cannot be filled (a later touch of either would be SIGBUS), or where the address space
        is full.
        """
        status = os.fstat(self.fd)
        if offset + length > status.st_size or length <= 0:
            raise RingCorrupt(f"the segment {self.name} is truncated: {self.size} bytes")
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            if status.st_blocks * _BLOCK_BYTES < status.st_size:
                _reserve(self.fd, offset, length)
            mapped = mmap.mmap(self.fd, length, mmap.MAP_SHARED, access, offset=offset)
        except (OSError, ValueError) as error:
            raise_unless_the_kernels(error)
            raise SharedMemoryFull(_no_memory(self.name, length, error)) from None
        self._maps.append(mapped)
        return mapped

    def drop_pages(self, offset: int, length: int, *, free: bool) -> None:
        """Unmap pages of what was mapped first; they come back when they are touched.

        free: give their memory back, too; what whoever else has it mapped then reads is zeros.
        Where the kernel will not, nothing happens.
        """
        with suppress(OSError):
            self._maps[0].madvise(mmap.MADV_REMOVE if free else mmap.MADV_DONTNEED, offset, length)

    @property
    def is_mapped(self) -> bool:
        """Whether something of it is mapped."""
        return bool(self._maps)

    def is_linked(self) -> bool:
        """Whether the segment still has its name."""
        return os.fstat(self.fd).st_nlink > 0

    def try_lock(self, offset: int) -> bool:
        """Take the byte lock at ``offset`` if no other descriptor holds it; never wait."""
        try:
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, offset))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def unlock(self, offset: int) -> None:
        """Give the byte lock at ``offset`` back."""
        fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, offset))

    def is_locked(self, offset: int, length: int = 1) -> bool:
        """Whether another descriptor than this one holds a lock on any of ``length`` bytes."""
        answer = fcntl.fcntl(self.fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, offset, length))
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def close(self) -> None:
        """Unmap all and close the descriptor; its locks go with it. Release views first."""
        maps, self._maps = self._maps, []
        for mapped in maps:
            mapped.close()
        self.close_descriptor()

    def detach(self) -> None:
        """As ``close``, but what has views stays mapped for as long as they live.

        For when who has them cannot be asked: an exception's frames, or those of a thread that is
        not in a forked child.
        """
        for mapped in self._maps:
            with suppress(BufferError):
                mapped.close()
        self._maps = []
        self.close_descriptor()

    def close_descriptor(self) -> None:
        """Close the descriptor of a segment that is used through its mappings alone."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # An exception may come before whoever opened it can close it, or before it was made.
        with suppress(AttributeError):
            self.detach()

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.detach()


def unlink(name: str) -> bool:
    """Remove a segment's name; whoever has it mapped goes on. Says whether there was one."""
    try:
        os.unlink(f"{DIRECTORY}/{name}")
    except OSError as error:
        raise_unless_the_kernels(error)
        return False
    return True


def names(prefix: str) -> list[str]:
    """The names of all segments that begin with ``prefix``, sorted; [] without /dev/shm.

    Raises SharedMemoryFull where this process may open no file to look. What is not ASCII was
    never ours, and posix_ipc could not take it.
    """
    try:
        found = os.listdir(DIRECTORY)
    except OSError as error:
        if error.errno in _OUR_LACK:
            raise SharedMemoryFull(f"{DIRECTORY} cannot be read: {explain(error)}") from None
        return []
    return sorted(name for name in found if name.startswith(prefix) and name.isascii())


def detach_descriptors(prefix: str) -> None:
    """In a forked child: give up its share in the locks of all segments that begin so.

    A lock ends when the last copy of its descriptor closes, and some of the copies are out of
    reach: a mapping's own, or one that a thread that is not here had just opened. Each is pointed
    at /dev/null instead of closed, so that its number does not become somebody else's before
    whoever knows it closes it.
    """
    if not Segment.any_opened:
        return
    with suppress(OSError), open(os.devnull, "rb") as nothing:
        for entry in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{entry}").startswith(f"{DIRECTORY}/{prefix}"):
                    os.dup2(nothing.fileno(), int(entry), inheritable=False)


def raise_unless_the_kernels(error: Exception) -> None:
    """Pass on an OSError without a number: a signal handler's own TimeoutError, say."""
    if isinstance(error, OSError) and error.errno is None:
        raise error


def _check_kind_and_owner(name: str, status: os.stat_result, own: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = [kind for is_kind, kind in _OTHER_KINDS if is_kind(status.st_mode)]
        raise NotPermitted(
            f"{DIRECTORY}/{name} is {kinds[0]} and no segment; remove it if it is in the way"
        )
    me = os.geteuid()
    if status.st_uid != me and (own or (me != 0 and status.st_uid != 0)):
        raise NotPermitted(
            f"the segment {name} belongs to user {status.st_uid} and this is user {me}; "
            f"run this as the user of the engine, or as root"
        )


def _refusal(name: str, error: OSError) -> TapError:
    """Why a segment that is there could not be opened."""
    if isinstance(error, PermissionError):
        return NotPermitted(
            f"the segment {name} belongs to another user; "
            f"run this as the user of the engine, or as root"
        )
    if error.errno in _OUR_LACK:
        return SharedMemoryFull(f"{name} cannot be opened: {explain(error)}")
    if error.errno == errno.EAGAIN:
        return NotPermitted(f"{name} cannot be opened: another process has a lease of it")
    return NotPermitted(f"{name} cannot be opened: {_reason(error)}")


def _flock(kind: int, offset: int, length: int = 1) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, offset, length, 0)


def _reserve(fd: int, offset: int, length: int) -> None:
    """``posix_fallocate``, but over the limit on a file's size always an OSError.

    The kernel's SIGXFSZ kills wherever Python has not set it aside: embedded, say.
    """
    end, limit = offset + length, resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < end and os.fstat(fd).st_size < end:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    os.posix_fallocate(fd, offset, length)


def not_given(name: str, owner: int | None) -> NotPermitted:
    """The error of who cannot give what he has made to the engine's user."""
    return NotPermitted(
        f"{name} cannot be given to user {owner}, whose engine it is for; "
        f"run this as that user, or as root"
    )


def _no_memory(name: str, size: int, error: Exception) -> str:
    return f"{size} bytes of shared memory for {name} cannot be had: {explain(error)}"


def explain(error: Exception) -> str:
    """What the kernel, or posix_ipc, refused, and what to do about it."""
    advice = _ADVICE.get(_errno(error))
    return f"{_reason(error)}; {advice}" if advice else _reason(error)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _errno(error: Exception) -> int:
    """``errno``; posix_ipc leaves it out where too many files are open, and nowhere else."""
    if isinstance(error, posix_ipc.PermissionsError):
        return errno.EACCES
    if not isinstance(error, OSError):
        return 0
    return errno.EMFILE if error.errno is None else error.errno


# Registered as this module is imported, because each module of shm, engine and consumer that holds
# a segment imports it first: hooks run in the order of their registration, and locks that the child
# shares with its parent have to be gone before any other hook closes or opens something.
os.register_at_fork(after_in_child=partial(detach_descriptors, prefix_of()))
