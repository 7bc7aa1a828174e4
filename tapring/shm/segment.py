"""One segment's life: reserved creation, attaching, mapping, byte locks, unlinking.

Segments are created with posix_ipc and mapped with mmap. The usual way, multiprocessing's
SharedMemory, has four faults that matter here. It cannot map read-only. It cannot map one page
alone. Before 3.13 its resource tracker unlinks segments that others still use (cpython#82300). It
leaks its descriptor, with a message, if a view is alive when it is destroyed (cpython#155003).

Every user may make names in /dev/shm. So a file is looked at before it is opened: opening another
user's FIFO or leased file would block, and a symbolic link may lead anywhere.

A segment is reserved with ``posix_fallocate`` before any process maps it. ``ftruncate`` alone
reserves nothing: on a full /dev/shm the first touch of a page, even to read it, would kill the
process with SIGBUS.

Locks are open-file-description locks (Linux, ``F_OFD_SETLK``). They belong to the descriptor and
not to the process. The kernel drops a lock when the last copy of its descriptor closes, however
that happens.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import struct
from contextlib import suppress
from typing import ClassVar, Final

from ..errors import NotPermitted, RingCorrupt, SharedMemoryFull, TapError
from ..thrown_in import is_of_a_handler
from . import descriptor
from .advice import OUR_LACK, explain, no_memory, not_given, reason
from .mapped import Mapped
from .names import prefix as prefix_of
from .platform import OPEN_FLAGS, after_fork_in_child, fcntl, posix_ipc, require, resource

DIRECTORY: Final = "/dev/shm"
MODE: Final = 0o600

_OTHER_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_BLOCK_BYTES: Final = 512  # the unit of st_blocks, on every file system
_FLOCK: Final = struct.Struct("hhqqi4x")


class Segment:
    """An open shared-memory segment: its descriptor, its size in bytes, and its mappings.

    A context manager, which calls ``detach`` if an exception leaves it. Closing twice is fine.
    ``close`` does not unlink.
    """

    any_opened: ClassVar[bool] = False  # so that a fork costs nothing without segments
    _description: descriptor.Description | None = None

    def __init__(self, name: str, fd: int, size: int, owner: int) -> None:
        self._maps: list[Mapped] = []
        self.fd: int = fd  # set first, because only this object closes it
        self.name = name
        self.size = size
        self.owner = owner  # user id
        self._description = descriptor.mark(fd)

    @classmethod
    def create(cls, name: str, size: int, *, owner: int | None = None) -> Segment:
        """Create and reserve a segment of ``size`` bytes, all zero, and give it to user ``owner``.

        Raises FileExistsError if the name is taken, SharedMemoryFull if the memory cannot be
        reserved, and NotPermitted if the segment cannot be given to that user. Nothing is left
        behind then.
        """
        require()
        cls.any_opened = True
        try:
            shm = posix_ipc.SharedMemory(f"/{name}", posix_ipc.O_CREX, mode=MODE)
        except posix_ipc.ExistentialError:
            if not os.path.isdir(DIRECTORY):  # posix_ipc raises the same exception for this
                absent = FileNotFoundError(errno.ENOENT, f"there is no {DIRECTORY}")
                raise SharedMemoryFull(no_memory(name, size, absent)) from None
            raise FileExistsError(errno.EEXIST, "that segment exists already", name) from None
        except (posix_ipc.Error, OSError, ValueError) as error:
            if type(error) is not OSError and is_of_a_handler(error):
                raise
            raise SharedMemoryFull(no_memory(name, size, error)) from None
        segment = cls(name, shm.fd, size, os.geteuid())
        try:
            os.fchmod(segment.fd, MODE)  # whatever the umask is
            if owner is not None and owner != segment.owner:
                os.fchown(segment.fd, owner, -1)
                segment.owner = owner
            _reserve(segment.fd, 0, size)
        except BaseException as error:  # and any exception of a signal handler
            segment.close()
            unlink(name)
            if isinstance(error, PermissionError):
                raise not_given(name, owner) from None
            if isinstance(error, OSError) and not is_of_a_handler(error):
                raise SharedMemoryFull(no_memory(name, size, error)) from None
            raise
        return segment

    @classmethod
    def attach(cls, name: str, *, own: bool = False) -> Segment:
        """Open an existing segment of any size. ``own``: only if it belongs to this very user.

        Otherwise root's are accepted, and root may open any user's. Raises FileNotFoundError,
        NotPermitted if it belongs to another user or is not a regular file, and SharedMemoryFull
        if this process may not open more files, or /dev/shm is read-only.
        """
        require()
        path = f"{DIRECTORY}/{name}"
        cls.any_opened = True
        try:
            _check_kind_and_owner(name, os.lstat(path), own)
            fd = os.open(path, OPEN_FLAGS)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "there is no segment", name) from None
        except OSError as error:
            if is_of_a_handler(error):
                raise
            raise _refusal(name, error) from None
        segment = cls(name, fd, 0, 0)  # closes fd even if an exception follows
        try:
            status = os.fstat(fd)
            _check_kind_and_owner(name, status, own)
            segment.size, segment.owner = status.st_size, status.st_uid
        except BaseException:
            segment.close()
            raise
        return segment

    def map(self, offset: int, length: int, *, writable: bool) -> mmap.mmap:
        """Map ``length`` bytes from ``offset``, a multiple of a page, until the segment is closed.

        Raises RingCorrupt if the segment is shorter than that, and SharedMemoryFull if it has holes
        that cannot be filled or the address space is full. Touching a page that is missing later
        would raise SIGBUS.
        """
        status = os.fstat(self.fd)
        if offset + length > status.st_size or length <= 0:
            raise RingCorrupt(f"the segment {self.name} is truncated: {self.size} bytes")
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            if status.st_blocks * _BLOCK_BYTES < status.st_size:
                _reserve(self.fd, offset, length)
            mapped = Mapped(self.fd, self._description, length, access, offset)
        except (OSError, ValueError) as error:
            if is_of_a_handler(error):
                raise
            raise SharedMemoryFull(no_memory(self.name, length, error)) from None
        self._maps.append(mapped)
        return mapped.memory

    def read(self, offset: int, length: int) -> bytes:
        """Return a copy of ``length`` bytes from ``offset``, without mapping them.

        Nothing that happens to the segment meanwhile can raise SIGBUS. Raises RingCorrupt if it is
        shorter.
        """
        data = os.pread(self.fd, length, offset)
        if len(data) < length:
            raise RingCorrupt(f"the segment {self.name} is truncated: {offset + len(data)} bytes")
        return data

    def is_own(self) -> bool:
        """Return whether the segment belongs to this process's user."""
        return self.owner == os.geteuid()

    def drop_pages(self, offset: int, length: int, *, free: bool) -> None:
        """Unmap pages of the first mapping. They come back when they are touched.

        free: also give their memory back; every process that still maps them then reads zeros.
        Does nothing if the kernel refuses.
        """
        self._maps[0].drop_pages(offset, length, free=free)

    @property
    def is_open(self) -> bool:
        """Whether its descriptor is still open, and its own."""
        return descriptor.description_of(self.fd) == self._description

    @property
    def is_mapped(self) -> bool:
        """Whether any part of it is mapped."""
        return bool(self._maps)

    def is_linked(self) -> bool:
        """Return whether the segment still has its name."""
        return os.fstat(self.fd).st_nlink > 0

    def try_lock(self, offset: int) -> bool:
        """Take the byte lock at ``offset`` unless another descriptor holds it. Never waits."""
        self._require_descriptor()
        try:
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, offset))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def unlock(self, offset: int) -> None:
        """Give the byte lock at ``offset`` back."""
        self._require_descriptor()
        fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, offset))

    def is_locked(self, offset: int, length: int = 1) -> bool:
        """Return whether another descriptor holds a lock on any of ``length`` bytes."""
        self._require_descriptor()
        answer = fcntl.fcntl(self.fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, offset, length))
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def unmap(self) -> None:
        """Unmap everything. Release views first."""
        maps, self._maps = self._maps, []
        for mapped in maps:
            mapped.close()

    def close(self) -> None:
        """Unmap everything and close the descriptor, and so its locks. Release views first."""
        self.unmap()
        self.close_descriptor()

    def detach(self) -> None:
        """Close, but leave a mapping with views in place for as long as the views live.

        For use where the holders of views cannot be asked: they are the frames of an exception, or
        of a thread that does not exist in a forked child.
        """
        for mapped in self._maps:
            with suppress(BufferError):
                mapped.close()
        self._maps = []
        self.close_descriptor()

    def close_descriptor(self) -> None:
        """Close the descriptor of a segment that is used through its mappings alone."""
        fd = self.fd
        try:
            self.fd = -1
            descriptor.close(fd, self._description)
        except BaseException:  # interrupted before or after: closing it again is safe
            self.fd = fd
            raise

    def _require_descriptor(self) -> None:
        if not self.is_open:
            raise OSError(errno.EBADF, f"other code has closed the descriptor of {self.name}")

    def __del__(self) -> None:
        # An exception may come before the caller can close it, or before ``__init__`` is done.
        with suppress(AttributeError):
            self.detach()

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.detach()


def is_own(name: str) -> bool:
    """Return whether a file of that name is in /dev/shm and belongs to this process's user."""
    try:
        return os.lstat(f"{DIRECTORY}/{name}").st_uid == os.geteuid()
    except OSError as error:
        if is_of_a_handler(error):
            raise
        return False


def unlink(name: str) -> bool:
    """Remove a segment's name. Processes that map it go on. Return whether there was one."""
    try:
        os.unlink(f"{DIRECTORY}/{name}")
    except OSError as error:
        if is_of_a_handler(error):
            raise
        return False
    return True


def names(prefix: str) -> list[str]:
    """Return the names of all segments that begin with ``prefix``, sorted; [] without /dev/shm.

    Names that are not ASCII are left out: tapring never made them, and posix_ipc cannot open them.
    Raises SharedMemoryFull if this process may not open a file to look.
    """
    require()
    try:
        found = os.listdir(DIRECTORY)
    except OSError as error:
        if is_of_a_handler(error):
            raise
        if error.errno in OUR_LACK:
            raise SharedMemoryFull(f"{DIRECTORY} cannot be read: {explain(error)}") from None
        return []
    return sorted(name for name in found if name.startswith(prefix) and name.isascii())


def _check_kind_and_owner(name: str, status: os.stat_result, own: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = [kind for is_kind, kind in _OTHER_KINDS if is_kind(status.st_mode)]
        raise NotPermitted(
            f"{DIRECTORY}/{name} is {kinds[0]}, not a segment; remove it if it is in the way"
        )
    me = os.geteuid()
    if status.st_uid != me and (own or (me != 0 and status.st_uid != 0)):
        raise NotPermitted(
            f"the segment {name} belongs to user {status.st_uid}, and this is user {me}; "
            f"run this as the user of the engine, or as root"
        )


def _refusal(name: str, error: OSError) -> TapError:
    """Return the error for a segment that exists and could not be opened."""
    if isinstance(error, PermissionError):
        return NotPermitted(
            f"the segment {name} belongs to another user; "
            f"run this as the user of the engine, or as root"
        )
    if error.errno in OUR_LACK:
        return SharedMemoryFull(f"{name} cannot be opened: {explain(error)}")
    if error.errno == errno.EAGAIN:
        return NotPermitted(f"{name} cannot be opened: another process holds a lease on it")
    return NotPermitted(f"{name} cannot be opened: {reason(error)}")


def _flock(kind: int, offset: int, length: int = 1) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, offset, length, 0)


def _reserve(fd: int, offset: int, length: int) -> None:
    """Call ``posix_fallocate``; raise OSError if the file would exceed the limit on its size.

    Otherwise the kernel sends SIGXFSZ, which kills the process unless Python ignores the signal. An
    embedded interpreter may not.
    """
    end, limit = offset + length, resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < end and os.fstat(fd).st_size < end:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    os.posix_fallocate(fd, offset, length)


def _leave_to_the_parent() -> None:
    if Segment.any_opened:
        descriptor.point_at_nothing(f"{DIRECTORY}/{prefix_of()}")


# Fork hooks run in the order of their registration. This one has to be first: the child must give
# up the locks that it shares with its parent before any other hook opens or closes something. It is
# registered here because every module that holds a segment, and so may need a hook, imports this
# one first.
after_fork_in_child(_leave_to_the_parent)
