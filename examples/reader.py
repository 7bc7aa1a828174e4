"""Reads a registered or kept session as docs/protocol.md says, using only the standard library.

``python examples/reader.py ENGINE[.LANE]:ID`` resumes at the next unread event, prints ``lines`` or
``json``, releases each frame once it is written (at least once). x86-64 needs no memory fence; else
put one at each FENCE: in Python, ``release(); acquire()`` on a ``Lock`` that is held.
"""

import json
import mmap
import os
import sys
import time
from contextlib import suppress
from fcntl import F_OFD_GETLK, F_OFD_SETLK, F_UNLCK, F_WRLCK, fcntl
from glob import glob
from struct import Struct

MAJOR, REGISTRY, RING, PAGE, SLOTS = 5, 0x01676E6972706174, 0x02676E6972706174, 4096, 8192
STATE, VERDICTS, ROWS, TAIL, CAPTURED, DROPPED, ENDED = 64, 128, 544, 32, 48, 64, 67
HEAD, RELEASED, ABANDONED, MISSED, GAPS = 0, 16, 17, 18, 19  # words of the consumer's page
WHY = ("", "engine-exit", "expired", "closed", "evicted", "closed")  # 5 and above: not known
ACCOUNT = "offered {}, delivered {}, unread {}, dropped {}, oversize {}, errors {}; ended by {}"
FRAME, FLOCK = Struct("=QQQQQIIHHI"), Struct("hhqqi4x")


def _check(right: object, wrong: str) -> None:
    if not right:
        raise ValueError(wrong)


def _lock(fd: int, command: int, byte: int) -> int:
    return int(FLOCK.unpack(fcntl(fd, command, FLOCK.pack(F_WRLCK, os.SEEK_SET, byte, 1, 0)))[0])


def segment(path: str, magic: int) -> tuple[int, mmap.mmap, memoryview]:
    """Map a finished segment of this user or root for reading; a hole in it would raise SIGBUS."""
    file = os.fstat(fd := os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK))
    whole = SLOTS <= file.st_size <= file.st_blocks * 512 and file.st_uid in (0, os.geteuid())
    _check(whole, f"{path} is truncated, or belongs to user {file.st_uid}")
    words = memoryview(data := mmap.mmap(fd, file.st_size, prot=mmap.PROT_READ)).cast("Q")
    _check(words[0] == magic, f"{path} is no segment of tapring, or not finished")  # FENCE
    _check(words[1] % 2**32 == MAJOR and not words[4], f"{path} is not of version {MAJOR}")
    return fd, data, words


def read(path: str, number: int) -> str:
    """Take a session's lock, print its events until it ends, and return its counts."""
    registry, whole, lane = segment(path.rpartition(".")[0], REGISTRY)
    rows, at = lane[5], -(-8 * (ROWS + 16 * lane[5]) // PAGE) * PAGE
    info, same = json.loads(whole[at : at + lane[6]]), [*path.split(".")[1:3], rows, len(whole)]
    ok = [info["engine"], info["lane"], info["max_sessions"], lane[2]] == same and 0 < rows <= 64
    row = [lane[ROWS + 16 * i :][:2].tolist() for i in range(rows)].index([2, number])
    _check(_lock(registry, F_OFD_GETLK, 16 + row) == F_UNLCK, f"{path} is read by another consumer")
    _lock(registry, F_OFD_SETLK, 16 + row)  # from here on no other session can get this row
    state, _, epoch, stage, slots, size = lane[ROWS + 16 * row :][:6].tolist()
    (fd, data, words), wrong = segment(path, RING), f"{path} is another's, damaged or no text"
    page = memoryview(mmap.mmap(fd, PAGE, offset=PAGE)).cast("Q")
    ok = ok and [state, *words[2:8]] == [2, len(data), epoch, 0, number, slots, size]
    ok = ok and len(data) == SLOTS + slots * size and slots > 1 and size > 63 and not PAGE % size
    ok = ok and max(page[HEAD], *page[RELEASED : GAPS + 1]) < 2**63
    _check(ok and (code := {"lines": 1, "json": 2}.get(info["stages"][stage]["kind"])), wrong)
    start, head, reason, nap = page[HEAD], page[HEAD], "", 0.0
    with suppress(KeyboardInterrupt):
        while (tail := words[TAIL]) != head or not reason:  # FENCE
            if tail == head:
                dead, free = _lock(registry, F_OFD_GETLK, 0) == F_UNLCK, lane[ROWS + 16 * row] == 0
                reason = WHY[min(words[ENDED], 5)] or WHY[lane[STATE] == 2] or "engine-death" * dead
                answer = lane[VERDICTS + row] ^ number << 8  # 1: accepted; 2 to 255: refused
                _check(reason or not 1 < answer < 256, "the engine refuses this ring")
                reason = reason or "closed" * (free and answer != 1)
                time.sleep(nap := min(2 * nap + 50e-6, 5e-3))
                continue  # FENCE
            at = SLOTS + head % slots * size
            pos, _, offered, captured, _, length, count, of, kind, _ = FRAME.unpack_from(data, at)
            end, last, nap = head - (-(length + 56) // size), at + 56 + length, 0.0
            done, missed = page[RELEASED] - captured, offered - captured - page[MISSED]
            ok = pos == head < end <= tail <= head + slots and (of, kind) == (stage, code)
            ok = ok and 0 <= done <= (head == start and count) and missed >= 0
            text = data[at + 56 : last] + data[SLOTS : max(0, last - len(data)) + SLOTS]
            _check(ok and 0 < count <= text.count(b"\n"), wrong)
            with open(1, "wb", closefd=False) as output:
                output.write(text.split(b"\n", done)[-1] if done < count else b"")
            page[RELEASED] = captured + count
            page[MISSED], page[GAPS] = page[MISSED] + missed, page[GAPS] + (missed > 0)
            page[HEAD] = head = end  # FENCE before it
        missed = max(0, sum(words[DROPPED:ENDED]) - page[MISSED])  # behind the last frame
        page[MISSED], page[GAPS] = page[MISSED] + missed, page[GAPS] + (missed > 0)
    came = page[RELEASED] if words[TAIL] == head else words[CAPTURED]
    lost, taken = words[DROPPED:ENDED].tolist(), page[RELEASED] - page[ABANDONED]
    return ACCOUNT.format(came + sum(lost), taken, came - taken, *lost, reason or "interrupt")


if __name__ == "__main__":
    try:
        name = sys.argv[-1].replace(":", "." if "." in sys.argv[-1] else ".????????.")
        path = min(glob(f"/dev/shm/tapring.{name}"), default="")
        _check(path, f"there is no session {sys.argv[-1]}")
        print("reader:", read(path, int(path.rpartition(".")[2])), file=sys.stderr)
    except (OSError, ValueError, LookupError, TypeError) as error:
        sys.exit(f"reader: {error}")
