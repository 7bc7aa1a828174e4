"""What a terminal is shown of a format: text with escapes for what it would obey, nothing binary.

Files and pipes get the bytes of a format as they are; only a terminal needs this.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from ..frame import Frame
from ..words import fitting, is_utf8, visible_block
from .formats import Encoder

_SAFE: Final = ("pretty",)  # it escapes by itself, and may hold colours
_JSON: Final = ("ndjson",)
_BINARY: Final = ("msgpack", "parquet", "npy")


def for_terminal(name: str, encode: Encoder, charset: str) -> Encoder:
    """The encoder of the format ``name`` for a terminal: its text can command none.

    Characters that the terminal's ``charset`` does not have are escaped.
    """
    shown = encode if name in _SAFE else partial(_shown, encode, name in _JSON)
    return shown if is_utf8(charset) else partial(_fitted, shown, charset, name in _JSON)


def check_terminal(name: str | None, compression: str | None = None) -> None:
    """Raise ValueError for output that a terminal cannot show. None is a format not known yet."""
    what = compression or name
    if compression is not None or name in _BINARY:
        raise ValueError(
            f"{what} is binary, and the output is a terminal. Write to a file, such as "
            f"-o events.{name or 'ndjson'}, or to a pipe"
        )


def _shown(encode: Encoder, is_json: bool, frame: Frame) -> bytes:
    return visible_block(encode(frame), json=is_json)


def _fitted(encode: Encoder, charset: str, is_json: bool, frame: Frame) -> bytes:
    lines = encode(frame).decode().split("\n")
    return "\n".join(fitting(line, charset, json=is_json) for line in lines).encode(charset)
