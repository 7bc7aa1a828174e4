"""All rings of a session: those that are read, and the account of those that are closed by now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..frame import Origin
from ..wire.ledger import Ledger
from .attachment import Attachment


class Gap(NamedTuple):
    """Events of a lane's stage that are missing behind the last frame of it that was handed out.

    missed: how many.
    """

    origin: Origin
    missed: int


class Retired(msgspec.Struct, frozen=True):
    """What is left of the rings of lanes that have ended, and that are closed by now."""

    ledger: Ledger = Ledger()
    gaps: int = 0
    final_gaps: tuple[Gap, ...] = ()


class Rings(NamedTuple):
    """All rings that a session has read: the account of those that are closed, and the others."""

    retired: Retired
    attachments: tuple[Attachment, ...]

    def without(self, gone: Attachment) -> Rings:
        """Return the same, with ``gone`` among those that are closed."""
        retired = Retired(
            self.retired.ledger + gone.ledger(),
            self.retired.gaps + gone.reader.gaps,
            self.retired.final_gaps + _gaps_behind([gone]),
        )
        return Rings(retired, tuple([each for each in self.attachments if each is not gone]))

    def settle(self) -> None:
        """Make the accounts final of all sessions that end with this consumer."""
        for each in self.attachments:
            each.settle()

    def final_gaps(self) -> tuple[Gap, ...]:
        """Return the gaps behind the last frames, once the accounts are final."""
        return self.retired.final_gaps + _gaps_behind(self.attachments)


def _gaps_behind(attachments: Sequence[Attachment]) -> tuple[Gap, ...]:
    gaps = [Gap(each.origin, each.final_gap()) for each in attachments]
    return tuple([gap for gap in gaps if gap.missed])
