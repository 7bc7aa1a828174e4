"""All rings of a session: those that are read, and the account of those that are closed by now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ..frame import Frame
from ..wire.ledger import Ledger
from .attachment import Attachment
from .past_first import LanePast


class Retired(msgspec.Struct, frozen=True):
    """What is left of the rings of lanes that have ended, and that are closed by now."""

    ledger: Ledger = Ledger()
    gaps: int = 0
    final_gaps: tuple[Frame, ...] = ()
    recorded: int = 0
    pasts: tuple[LanePast, ...] = ()


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
            self.retired.recorded + gone.recorded(),
            self.retired.pasts + _pasts([gone]),
        )
        return Rings(retired, tuple([each for each in self.attachments if each is not gone]))

    def recorded(self) -> int:
        """Return how many events came out of recordings and not out of the rings."""
        return sum([each.recorded() for each in self.attachments], start=self.retired.recorded)

    def pasts(self) -> tuple[LanePast, ...]:
        """Return what was found in the recordings of the lanes, if that was asked for."""
        return self.retired.pasts + _pasts(self.attachments)

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


def _pasts(attachments: Sequence[Attachment]) -> tuple[LanePast, ...]:
    found = [each.found_in_past() for each in attachments]
    return tuple([each for each in found if each is not None])


def _gaps_behind(attachments: Sequence[Attachment]) -> tuple[Frame, ...]:
    gaps = [each.final_gap() for each in attachments]
    return tuple([gap for gap in gaps if gap is not None])
