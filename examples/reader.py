"""Reads a registered or kept session as docs/protocol.md says, using only the standard library.

``python examples/reader.py ENGINE[.LANE]:ID`` resumes at the next unread event, prints ``lines`` or
``json``, and releases each frame once it is written (at least once). x86-64 needs no memory fence;
elsewhere put one at each FENCE: in Python, ``release(); acquire()`` on a ``Lock`` that is held.
"""

import mmap
import os
import sys
import time
from fcntl import F_OFD_GETLK, F_OFD_SETLK, F_UNLCK, F_WRLCK, fcntl
from glob import glob
from struct import Struct

MAJOR, REGISTRY, RING, PAGE, SLOTS = 5, 0x01676E6972706174, 0x02676E6972706174, 4096, 8192
STATE, VERDICTS, ROWS, TAIL, CAPTURED, DROPPED, ENDED = 64, 128, 544, 32, 48, 64, 67
HEAD, RELEASED, ABANDONED, MISSED, GAPS = 0, 16, 17, 18, 19  # words of the consumer's page
WHY = ("", "engine-exit", "expired", "closed", "evicted")
FRAME, FLOCK = Struct("=QQQQQIIHHI"), Struct("hhqqi4x")


def check(right: object, wrong: str) -> None:
    """Refuse data that no correct peer writes, or that this reader does not support."""
    if not right:
        raise ValueError(wrong)


def lock(fd: int, command: int, byte: int) -> int:
    """Take a byte's lock, which raises if another process holds it; or only query it."""
    asked = FLOCK.pack(F_WRLCK, os.SEEK_SET, byte, 1, 0)
    return int(FLOCK.unpack(fcntl(fd, command, asked))[0])


def segment(path: str, magic: int) -> tuple[int, mmap.mmap, memoryview]:
    """Map a finished segment of this user or root for reading; a hole in it would raise SIGBUS."""
    file = os.fstat(fd := os.open(path, os.O_RDWR | os.O_NOFOLLOW))
    whole = SLOTS <= file.st_size <= file.st_blocks * 512 and file.st_uid in (0, os.geteuid())
    check(whole, f"{path} is truncated, or belongs to user {file.st_uid}")
    words = memoryview(data := mmap.mmap(fd, file.st_size, prot=mmap.PROT_READ)).cast("Q")
    check(words[0] == magic, f"{path} is no segment of tapring, or not finished")  # FENCE
    check(words[1] % 2**32 == MAJOR and not words[4], f"{path} is not of version {MAJOR}")
    return fd, data, words


def read(path: str, number: int) -> str:
    """Take a session's lock, print its events until it ends, and return its counts."""
    registry, _, lane = segment(path.rpartition(".")[0], REGISTRY)
    row = lane[ROWS + 1 : ROWS + 16 * min(lane[5], 64) : 16].tolist().index(number)
    check(lock(registry, F_OFD_GETLK, 16 + row) == F_UNLCK, f"{path} is read by another consumer")
    lock(registry, F_OFD_SETLK, 16 + row)  # from here on no other session can get this row
    state, same, epoch, stage, slots, size = lane[ROWS + 16 * row :][:6]
    fd, data, words = segment(path, RING)
    right = (state, same) == (2, number) and [words[3], *words[5:8]] == [epoch, number, slots, size]
    check(right and size >= 64 and len(data) == SLOTS + slots * size, f"{path} is another's")
    page = memoryview(mmap.mmap(fd, PAGE, offset=PAGE)).cast("Q")
    start, head, reason, nap = page[HEAD], page[HEAD], "", 0.0
    try:
        while (tail := words[TAIL]) != head or not reason:
            nap = min(2 * nap or 50e-6, 5e-3) if tail == head else 0  # FENCE
            if tail == head:
                dead, exited = lock(registry, F_OFD_GETLK, 0) == F_UNLCK, lane[STATE] == 2
                seen, verdict = divmod(lane[VERDICTS + row], 256)
                check(seen != number or verdict < 2, "the engine refuses this ring")
                reason = WHY[words[ENDED] % 5] or "engine-exit" * exited or "engine-death" * dead
                reason = reason or "closed" * (lane[ROWS + 16 * row] == 0 and seen != number)
                time.sleep(nap)
                continue  # FENCE
            at = SLOTS + head % slots * size
            pos, _, offered, captured, _, length, count, of, kind, _ = FRAME.unpack_from(data, at)
            end, last = head - (-(length + 56) // size), at + 56 + length
            done, missed = page[RELEASED] - captured, offered - captured - page[MISSED]
            right = pos == head < end <= tail <= head + slots and of == stage and kind in (1, 2)
            right = right and 0 <= done <= (head == start and count) and missed >= 0 < count
            check(right and count <= length, f"{path} is damaged or no text")
            wrapped = data[SLOTS : max(0, last - len(data)) + SLOTS]
            rest = memoryview((data[at + 56 : last] + wrapped).split(b"\n", done)[-1])
            while rest:
                rest = rest[os.write(1, rest) :]
            page[RELEASED] = captured + count
            page[MISSED], page[GAPS] = page[MISSED] + missed, page[GAPS] + (missed > 0)
            page[HEAD] = head = end  # FENCE before it
    except KeyboardInterrupt:
        reason = "interrupt"
    captured = words[CAPTURED] if reason == "interrupt" else page[RELEASED]
    (dropped, oversize, errors), delivered = words[DROPPED:ENDED], page[RELEASED] - page[ABANDONED]
    account = f"offered {captured + dropped + oversize + errors}, delivered {delivered}, unread "
    account += f"{captured - delivered}, dropped {dropped}, oversize {oversize}, errors {errors}"
    return f"reader: {account}; ended by {reason}"


if __name__ == "__main__":
    try:
        name = sys.argv[-1].replace(":", "." if "." in sys.argv[-1] else ".????????.")
        path = min(glob(f"/dev/shm/tapring.{name}"), default="")
        check(path, f"there is no session {sys.argv[-1]}")
        print(read(path, int(path.rpartition(".")[2])), file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f"reader: {error}", file=sys.stderr)
        sys.exit(3)
