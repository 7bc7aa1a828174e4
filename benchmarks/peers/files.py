"""A file that its producer appends to and flushes, and that ``tail -f`` follows for the consumer.

A flush is a write into the page cache by the caller's thread; writing to disk is left to the
kernel. Nothing is pickled and there is no length: the consumer splits lines. The file keeps
growing, whether or not it is read.
"""

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import BinaryIO

from .channel import BUFFER_BYTES, Channel, Full, Load, Peer, Put, sender
from .process import Consumer, child, take

END = b"\n"
CHUNK_BYTES = 1 << 20


@contextmanager
def _opened(load: Load, credit: int) -> Iterator[Channel]:
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.path.join(folder, "events"), "wb", buffering=CHUNK_BYTES) as file,
        child(_consume, file.name, credit) as connection,
    ):
        consumer = Consumer.ready(connection)
        put = _put_line(file) if load.per_event else _put(file)
        yield Channel(sender(put, load), lambda: _put(file)(END), consumer)


def _put(file: BinaryIO) -> Put:
    write, flush = file.write, file.flush

    def put(message: bytes) -> None:
        write(message)
        flush()

    return put


def _put_line(file: BinaryIO) -> Put:
    write, flush = file.write, file.flush

    def put(line: bytes) -> None:
        write(line + b"\n")
        flush()

    return put


def _consume(connection: Connection, path: str, credit: int) -> None:
    # --pid: tail ends with this process, even if that is killed.
    command = ["tail", "-c", "+1", "-f", f"--pid={os.getpid()}", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=CHUNK_BYTES) as tail:
        assert isinstance(tail.stdout, io.BufferedReader)
        take(_lists(tail.stdout), connection, credit)
        tail.terminate()


def _lists(stream: io.BufferedReader) -> Iterator[int]:
    rest = b""
    while chunk := stream.read1(CHUNK_BYTES):
        lines = io.BytesIO(rest + chunk).readlines()
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        if lines and lines[-1] == END:
            yield len(lines) - 1
            return
        yield len(lines)


TAIL = Peer(
    "a file and tail -f",
    _opened,
    Full.GROWS,
    lambda load: load.batches_in(BUFFER_BYTES),
    missing="" if shutil.which("tail") else "tail is not installed",
)
PEERS = (TAIL,)
