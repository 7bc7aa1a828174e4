"""Reading text as a person does who knows the escapes of JSON, whether or not it is JSON."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_MEANS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def unescaped(text: str) -> str:
    """``text`` with the characters that its escapes stand for. All other text stays as it is.

    Two escapes of surrogates that make one character become that character.
    """
    read = _ESCAPE.sub(_meaning, text)
    return read.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _meaning(escape: re.Match[str]) -> str:
    code, letter = escape.groups()
    return chr(int(code, 16)) if code else _MEANS.get(letter, letter)
