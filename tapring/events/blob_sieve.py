"""The sieve for ``bytes``: it can search in the events, but not look into them."""

from __future__ import annotations

from collections.abc import Sequence

from .kinds import Blobs
from .selection import Select
from .steps import NONE_LEFT, Sifted, Steps, described


class BlobSieve(Steps):
    """Sifts frames of arbitrary payloads. Raises ValueError for steps that need JSON."""

    def __init__(self, kind: Blobs, select: Select) -> None:
        if select.needs_decoding:
            raise ValueError(
                f"The options where, by and fields look into JSON, but {described(kind)}. "
                f"Use grep, sample or rate."
            )
        super().__init__(select)
        self.kind = kind

    def _sift(self, payload: bytes, count: int, time_ns: int) -> Sifted:
        blobs = self.kind.unpack(payload, count)[0]
        at: Sequence[int] = range(len(blobs))
        grep = self.select.grep
        if grep is not None:
            kept = [i for i in at if grep.matches(blobs[i])]
            self.away.grep += len(at) - len(kept)
            at = kept
        at = self.rated(self.sampled(at), time_ns)
        if not at:
            return NONE_LEFT
        return Sifted(self.kind.pack([blobs[i] for i in at])[0], len(at), at)

    def _together(self, payloads: list[bytes]) -> bytes:
        blobs = [blob for each in payloads for blob in self.kind.unpack(each, 1)[0]]
        return bytes(self.kind.pack(blobs)[0])

    def _apart(self, payload: bytes, count: int) -> list[bytes]:
        return [self.kind.pack([blob])[0] for blob in self.kind.unpack(payload, count)[0]]
