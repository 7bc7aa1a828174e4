"""Redaction: raw values become tokens before an event leaves the consumer's process.

A token is ``tapring:redacted:`` and 16 hex digits: a keyed hash (BLAKE2b, RFC 7693) of the UTF-8
of a string, or of the canonical JSON of any other value. Each Redactor has its own random key,
which is never stored. So equal values have equal tokens within one capture, and nothing links the
tokens of two captures.

``paths`` has the rules for paths. Stages, frames and files are unknown here.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import msgspec

from .paths import Tree, parse_paths

PREFIX: Final = "tapring:redacted:"
_TOKEN: Final = re.compile(f"{PREFIX}[0-9a-f]{{16}}")
_canonical: Final = msgspec.json.Encoder(order="sorted").encode
# A token takes 600 ns to make and 60 ns to look up. Values repeat; long ones seldom do.
_REMEMBERED: Final = 1 << 14
_LONGEST_REMEMBERED: Final = 128  # characters, so that all of them stay below 10 MB
_MADE: Final = 1 << 16  # more than one event can need; one that was forgotten is replaced anew
_EXACT: Final = 1 << 53  # up to here, a whole float is exactly one integer


class Redactor:
    """Replaces the values at ``paths``, and the text that ``regex`` matches, with tokens.

    paths: ``"src_ip,user.email"``, or several such texts. regex: each match in a line, or in any
    string of a JSON event, becomes a token; if the regex has groups, only the groups do. Paths are
    followed first, and what lies within a token of this Redactor stays. Text that only looks like a
    token, as in the replay of a redacted capture, becomes one. Use one Redactor for each capture:
    its key keeps the tokens of two captures apart.

    Lines in which ``paths`` cannot be found, because they are not JSON, are withheld and counted.
    pass_text: let them through instead, as far as ``regex`` redacts them. ignore_case: a path also
    leads through keys that differ from it in case. in_strings: a path that goes on below a string
    looks for JSON in it; if the string only begins like JSON, all of it becomes a token.

    Raises ValueError for an invalid path or regex, and if neither is given.
    """

    def __init__(
        self,
        paths: str | Iterable[str] = (),
        *,
        regex: str | re.Pattern[str] | None = None,
        pass_text: bool = False,
        ignore_case: bool = False,
        in_strings: bool = False,
    ) -> None:
        self._paths = parse_paths(paths) if paths else ()
        self.pass_text = pass_text
        self.regex: re.Pattern[str] | None = None if regex is None else compile_regex(regex)
        if not self._paths and self.regex is None:
            raise ValueError("Nothing to redact. Name paths ('src_ip,user.email') or a regex.")
        self._tree = Tree.of(self._paths, ignore_case=ignore_case, in_strings=in_strings)
        self._regex_found = False
        from hashlib import blake2b  # loads OpenSSL: 5 ms that no engine needs

        self._keyed = blake2b(key=os.urandom(32), digest_size=8)
        self._tokens: dict[str, str] = {}
        self._made: dict[str, None] = {}  # the newest tokens, as an ordered set

    def __repr__(self) -> str:
        regex = None if self.regex is None else self.regex.pattern
        return f"<Redactor paths={self.paths} regex={regex!r}>"

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths, as they were written."""
        return tuple(path.text for path in self._paths)

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The paths that no event had so far: perhaps a typo."""
        return tuple(path.text for path in self._paths if not path.found)

    @property
    def regex_unmatched(self) -> bool:
        """Whether there is a regex that has matched nothing so far."""
        return self.regex is not None and not self._regex_found

    def token(self, value: Any) -> str:
        """The token of a value of decoded JSON."""
        if type(value) is int:
            value = str(value)  # its canonical JSON
        if type(value) is str:
            token = self._tokens.get(value)
            if token is None:
                return self._remember(value)
            if self.regex is not None:
                self._note_made(token)
            return token
        return self._hash(_canonical(plain(value)))

    def redact(self, event: Any) -> Any:
        """``event`` (decoded JSON, changed in place) with tokens in place of the raw values."""
        # Paths first: a regex may match the very keys that they go through.
        event = self._tree.replace(event, self.token)
        return event if self.regex is None else self._strings(event)

    def redact_text(self, text: str) -> str:
        """``text`` with tokens in place of the regex's matches."""
        if self.regex is None:
            return text
        if PREFIX in text:  # what only looks like a token may hide a value from the regex
            text = _TOKEN.sub(self._own_token, text)
        tokens = [token.span() for token in _TOKEN.finditer(text)] if PREFIX in text else []
        redacted = self.regex.sub(partial(self._replaced, tokens), text)
        self._regex_found = self._regex_found or redacted != text
        return redacted

    def _own_token(self, match: re.Match[str]) -> str:
        """The token if this made it; otherwise, a token for it."""
        text = match[0]
        return text if text in self._made else self.token(text)

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
        token = PREFIX + hashed.hexdigest()
        if self.regex is not None:
            self._note_made(token)
        return token

    def _note_made(self, token: str) -> None:
        made = self._made
        if token not in made and len(made) >= _MADE:
            for old in list(made)[: _MADE // 2]:
                del made[old]
        made[token] = None

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

    def _replaced(self, tokens: list[tuple[int, int]], match: re.Match[str]) -> str:
        """``match`` with tokens in place of what it found; what lies in one of ``tokens`` stays."""
        spans = [match.span(group) for group in range(1, match.re.groups + 1)] or [match.span()]
        text, made, at = match.string, "", match.start()
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            if any(first <= start and end <= last for first, last in tokens):
                continue
            if at <= start < end:  # the group matched, is not empty, and lies in no other group
                made += text[at:start] + self.token(text[start:end])
                at = end
        return made + text[at : match.end()]


def compile_regex(regex: str | re.Pattern[str]) -> re.Pattern[str]:
    """``regex``, compiled. Raises ValueError that says where it is wrong, with an example.

    What another engine has compiled (RE2) is taken as it is.
    """
    if not isinstance(regex, str | bytes | re.Pattern):
        return regex
    try:
        with warnings.catch_warnings():  # about sets that a later Python may read as nested
            warnings.simplefilter("ignore", FutureWarning)
            compiled = re.compile(regex)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(
            f"Invalid regular expression {regex!r}: {error}. Try 'fail(ed|ure)'; write a literal "
            f"parenthesis as \\("
        ) from None
    if not isinstance(compiled.pattern, str):
        raise TypeError(f"The regular expression must be a str, not bytes: {regex!r}")
    return compiled


def plain(value: Any) -> Any:
    """``value`` with whole floats as integers, since JSON has only one kind of number."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value
