"""All rings of a session: those that are read, and the account of those that are closed by now."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ..wire.ledger import Ledger
from .attachment import Attachment


class Retired(msgspec.Struct, frozen=True):
    """What is left of the rings of lanes that have ended, and that are closed by now."""

    ledger: Ledger = Ledger()
    gaps: int = 0


class Rings(NamedTuple):
    """All rings that a session has read: the account of those that are closed, and the others."""

    retired: Retired
    attachments: tuple[Attachment, ...]

    def without(self, gone: Attachment) -> Rings:
        """Return the same, with ``gone`` among those that are closed."""
        retired = Retired(self.retired.ledger + gone.ledger(), self.retired.gaps + gone.reader.gaps)
        return Rings(retired, tuple([each for each in self.attachments if each is not gone]))
