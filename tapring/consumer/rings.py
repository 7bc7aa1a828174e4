"""All rings of a session: those that are read, and the account of those that are closed by now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ..frame import Frame
from ..wire.ledger import Ledger
from .attachment import Attachment


class Retired(msgspec.Struct, frozen=True):
    """What is left of the rings of lanes that have ended, and that are closed by now."""

    ledger: Ledger = Ledger()
    gaps: int = 0
    final_gaps: tuple[Frame, ...] = ()


class Rings(NamedTuple):
    """All rings that a session has read: the account of those that are closed, and the others."""

    retired: Retired
    attachments: tuple[Attachment, ...]

    def without(self, gone: Attachment) -> Rings:
        """Return the same, with ``gone`` among those that are closed."""
        retired = Retired(
            self.retired.ledger + gone.ledger(),
            self.retired.gaps + gone.gaps(),
            self.retired.final_gaps + _gaps_behind([gone]),
        )
        return Rings(retired, tuple([each for each in self.attachments if each is not gone]))

    def settle(self) -> None:
        """Make the accounts final of all sessions that end with this consumer."""
        for each in self.attachments:
            each.settle()

    def final_gaps(self) -> tuple[Frame, ...]:
        """Return what is missing and was not told of, once the accounts are final."""
        return self.retired.final_gaps + _gaps_behind(self.attachments)

    def told(self) -> Rings:
        """Return the same, when all of that was told."""
        for each in self.attachments:
            gap = each.final_gap()
            if gap is not None:
                each.told += gap.missed
        return Rings(replace(self.retired, final_gaps=()), self.attachments)


def _gaps_behind(attachments: Sequence[Attachment]) -> tuple[Frame, ...]:
    gaps = [each.final_gap() for each in attachments]
    return tuple([gap for gap in gaps if gap is not None])
