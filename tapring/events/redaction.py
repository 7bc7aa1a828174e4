"""Redaction: raw values become tokens before an event leaves the consumer's process.

A value becomes ``tapring:redacted:`` and 16 hex digits: a keyed hash (BLAKE2b, RFC 7693) of a
string's UTF-8, or of any other value's canonical JSON. The key is random, of this Redactor, and
never stored: equal values are equal within one capture, and cannot be linked across two. The
rules of the paths are ``paths``'s; those of rsigma's tap, with ``*`` and escapes added.

Pure functions on events: nothing here knows of a stage, a frame or a file.
"""

from __future__ import annotations

import re
import secrets
import warnings
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from .paths import Tree, parse_paths

PREFIX: Final = "tapring:redacted:"
_canonical: Final = msgspec.json.Encoder(order="sorted").encode
# A token takes 600 ns to make and 60 to look up; values come again. Long ones seldom do.
_REMEMBERED: Final = 1 << 14
_LONGEST_REMEMBERED: Final = 128  # characters: all of them together stay below 10 MB
_EXACT: Final = 1 << 53  # up to here a float that is whole is one integer


class Redactor:
    """Replaces what ``paths`` lead to, and what ``regex`` matches in text, by tokens.

    paths: ``"src_ip,user.email"`` or several such texts. regex: in a line, and in every string of
    a JSON event, each match becomes a token; of a regex with groups, the groups alone. One
    Redactor a capture, since its salt is what keeps two captures apart.

    Raises ValueError for a path or a regex that is none, and where neither is given.
    """

    def __init__(
        self,
        paths: str | Iterable[str] = (),
        *,
        regex: str | re.Pattern[str] | None = None,
    ) -> None:
        self._paths = parse_paths(paths) if paths else ()
        self.regex = None if regex is None else compile_regex(regex)
        if not self._paths and self.regex is None:
            raise ValueError("nothing to redact was named: paths ('src_ip,user.email') or a regex")
        self._tree = Tree.of(self._paths)
        self._regex_found = False
        self._keyed = blake2b(key=secrets.token_bytes(32), digest_size=8)
        self._tokens: dict[str, str] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths, as they were written."""
        return tuple(path.text for path in self._paths)

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The paths that no event had so far: a typo, perhaps."""
        return tuple(path.text for path in self._paths if not path.found)

    @property
    def regex_unmatched(self) -> bool:
        """Whether there is a regex, and it has matched nothing so far."""
        return self.regex is not None and not self._regex_found

    def token(self, value: Any) -> str:
        """The token of a value of decoded JSON."""
        if type(value) is int:
            value = str(value)  # its canonical JSON
        if type(value) is str:
            token = self._tokens.get(value)
            return self._remember(value) if token is None else token
        return self._hash(_canonical(_plain(value)))

    def redact(self, event: Any) -> Any:
        """``event`` (decoded JSON; changed in place) with tokens for what is to be hidden."""
        if self.regex is not None:
            event = self._strings(event)
        return self._tree.replace(event, self.token)

    def redact_text(self, text: str) -> str:
        """``text`` with tokens for what the regex matches."""
        if self.regex is None:
            return text
        redacted = self.regex.sub(self._replaced, text)
        self._regex_found = self._regex_found or redacted != text
        return redacted

    def _remember(self, value: str) -> str:
        token = self._hash(value.encode("utf-8", "surrogatepass"))
        if len(value) <= _LONGEST_REMEMBERED:
            if len(self._tokens) >= _REMEMBERED:
                self._tokens.clear()
            self._tokens[value] = token
        return token

    def _hash(self, canonical: bytes) -> str:
        hashed = self._keyed.copy()
        hashed.update(canonical)
        return PREFIX + hashed.hexdigest()

    def _strings(self, value: Any) -> Any:
        if type(value) is str:
            return self.redact_text(value)
        if isinstance(value, dict):
            return {self.redact_text(key): self._strings(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._strings(each) for each in value]
        if value is None or isinstance(value, bool):
            return value
        text = _canonical(value).decode()
        redacted = self.redact_text(text)
        return value if redacted == text else redacted

    def _replaced(self, match: re.Match[str]) -> str:
        spans = [match.span(group) for group in range(1, match.re.groups + 1)] or [match.span()]
        text, made, at = match.string, "", match.start()
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            if at <= start < end:  # a group that took part, is not empty, and in no other
                made += text[at:start] + self.token(text[start:end])
                at = end
        return made + text[at : match.end()]


def compile_regex(regex: str | re.Pattern[str]) -> re.Pattern[str]:
    """``regex`` compiled. Raises ValueError that says where it is wrong, with an example."""
    try:
        with warnings.catch_warnings():  # of sets that may be nested in a Python to come
            warnings.simplefilter("ignore", FutureWarning)
            compiled = re.compile(regex)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(
            f"{regex!r} is no regular expression ({error}); 'fail(ed|ure)' is, and a literal "
            f"parenthesis is written \\("
        ) from None
    if not isinstance(compiled.pattern, str):
        raise TypeError(f"a regular expression of text is needed, not of bytes: {regex!r}")
    return compiled


def _plain(value: Any) -> Any:
    """``value`` with whole floats as integers, since JSON has one kind of number."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
