"""Letting a reader read an image, and comparing what it did with what the page says."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from .cases import EITHER, REFUSED, Case
from .image import Image
from .oracle import read

PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.0005
_SHOWN: Final = 300


class Failed(Exception):
    """A reader did not do what it must. Says what was expected and what came."""


def wait_until(
    condition: Callable[[], object], what: str, reader: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait for a condition to hold; Failed if the reader ends before, or after a generous time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if reader is not None and reader.poll() is not None and not condition():
            raise Failed(f"expected {what}, but the reader ended with {reader.returncode}")
        if time.monotonic() > deadline:
            raise Failed(f"expected {what} within {PATIENCE_S:.0f} s, but it did not come")
        time.sleep(_POLL_S)


@contextmanager
def started(command: Sequence[str], address: str, stdout: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a reader for an address; it is killed if it still runs at the end."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([*command, address], stdout=stdout, stderr=errors)
        process.errors = errors  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def said(process: subprocess.Popen[bytes]) -> str:
    """What a reader has written to standard error."""
    errors: IO[bytes] = process.errors  # type: ignore[attr-defined]
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()


def ends(process: subprocess.Popen[bytes]) -> int:
    """Wait for a reader to end, and return its exit code."""
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"expected an end within {PATIENCE_S:.0f} s, but it still runs") from None


def check(case: Case, command: Sequence[str]) -> None:
    """Let the reader that ``command`` starts read an image. Raises Failed, and Skipped."""
    with Image(case.kind, **case.shape) as image, tempfile.TemporaryFile() as output:
        case.prepare(image)
        place, others = image.place(), image.bytes_of_others()
        with started(command, image.address, output) as process:
            image.reader = process
            try:
                if case.meanwhile is not None:
                    case.meanwhile(image)
                code = ends(process)
            except Failed as failure:
                raise Failed(f"{failure}; standard error: {said(process)!r}") from None
            errors = said(process)
        output.seek(0)
        came = output.read()
        refused = _refused(case, code, errors)
        if case.outcome == EITHER and not refused:
            image.frames[:] = [frame._replace(right=True) for frame in image.frames]
        else:
            expect("standard output", read(image, place).output, came)
        if place:
            _compare(image, place, refused, errors)
        if case.meanwhile is None:
            for what, before in others.items():
                if image.bytes_of_others()[what] != before:
                    raise Failed(f"expected no store to {what}, but it has changed")


def expect(what: str, right: Any, found: Any) -> None:
    """Raise Failed unless two things are equal."""
    if right != found:
        raise Failed(f"{what}: expected {_shown(right)}, came {_shown(found)}")


def _refused(case: Case, code: int, errors: str) -> bool:
    """Whether the reader refused the image. Raises Failed if it should or should not have."""
    if code < 0:
        raise Failed(f"expected an exit code, but signal {signal.Signals(-code).name} ended it")
    if code and not errors:
        raise Failed(f"expected a line on standard error with exit code {code}, none came")
    if case.outcome != EITHER and bool(code) != (case.outcome == REFUSED):
        wanted = "another exit code than 0" if case.outcome == REFUSED else "exit code 0"
        raise Failed(f"expected {wanted}, came {code}; standard error: {errors!r}")
    return bool(code)


def _compare(image: Image, place: dict[str, int], refused: bool, errors: str) -> None:
    """Raise Failed unless the consumer's words are right."""
    found = image.place()
    over = (False,) if refused else (True, False) if image.is_over is None else (image.is_over,)
    right = [read(image, place, to_the_end=each).place for each in over]
    if found not in right:
        expected = right[0]
        differ = [name for name in expected if expected[name] != found[name]]
        wanted = ", ".join(f"{name} {expected[name]}" for name in differ)
        came = ", ".join(f"{name} {found[name]}" for name in differ)
        raise Failed(f"expected {wanted}, came {came}; standard error: {errors!r}")


def _shown(value: Any) -> str:
    text = repr(value)
    if len(text) <= _SHOWN:
        return text
    return f"{text[: _SHOWN // 2]} ... {text[-_SHOWN // 2 :]} ({len(value)})"


def environment_is_fit() -> str:
    """Why no check can be made here; empty if they can."""
    return "" if os.access("/dev/shm", os.W_OK) else "/dev/shm cannot be written to"
