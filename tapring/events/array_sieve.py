"""The sieve for ``array``: it looks at a record as the JSON object that ndjson would show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from .kinds import Array
from .objects import record_dicts
from .selection import Select
from .steps import NONE_LEFT, Sifted, Steps


class ArraySieve(Steps):
    """Sifts frames of records. Raises ValueError for fields that the records do not have."""

    def __init__(self, kind: Array, select: Select) -> None:
        super().__init__(select)
        self._full = kind
        self._names: list[str] | None = None
        self.kind: Array = kind
        if select.fields is not None:
            self._names = _field_names(kind, select)
            self.kind = Array([(name, kind.dtype[name]) for name in self._names])
        self._encode = msgspec.json.Encoder().encode

    def _sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        (records,) = self._full.unpack(payload, count)[0]
        at: Sequence[int] = range(len(records))
        grep = self.select.grep
        sample = self.select.sample
        by_value = sample is not None and sample.by is not None
        if grep is not None or self.select.where is not None or by_value:
            at = self._looked_into(record_dicts(records))
        at = self.rated(self.sampled(at), time_ns)
        if not at:
            return NONE_LEFT
        kept = records[list(at)]
        if self._names is not None:
            kept = kept[self._names].astype(self.kind.dtype)
        return Sifted(bytes(self.kind.pack(kept)[0]), len(at), at)

    def _apart(self, payload: bytes, count: int) -> list[bytes]:
        (records,) = self._full.unpack(payload, count)[0]
        return [each.tobytes() for each in records]

    def _looked_into(self, dicts: list[Any]) -> Sequence[int]:
        grep = self.select.grep
        at = list(range(len(dicts)))
        if grep is not None:
            at = [i for i in at if grep.matches(self._encode(dicts[i]))]
            self.away.grep += len(dicts) - len(at)
        return [at[i] for i in self.passing([dicts[i] for i in at])]


def _field_names(kind: Array, select: Select) -> list[str]:
    """The fields of a record that ``select`` keeps, in the record's order."""
    assert select.fields is not None
    there = kind.dtype.names or ()
    for path in select.fields.paths:
        if len(path.segments) != 1 or path.segments[0] not in there:
            raise ValueError(
                f"Cannot keep field {path.text!r}: an array stage can keep whole fields only, and "
                f"this one has {', '.join(there) or 'none'}."
            )
        path.found = True
    asked = {path.segments[0] for path in select.fields.paths}
    return [name for name in there if name in asked]
