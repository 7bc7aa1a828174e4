"""What a batch of events is, and how one that is none, or that cannot be read, is refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, NoReturn

from ..thrown_in import comes_of

if TYPE_CHECKING:
    import numpy as np

    # A dictionary is a Collection, too, so that type would let a single event pass for a batch.
    Batch = Sequence[Any] | AbstractSet[Any] | ValuesView[Any] | np.ndarray[Any, Any] | np.void
else:  # numpy is loaded only when an ``array`` stage is made
    Batch = Any


class NotABatch(TypeError):
    """What was offered is not a batch of its stage's kind."""


def sequence(batch: Any, kind: str) -> list[Any]:
    """Return the events of a ``batch`` for a stage of ``kind``. Raises NotABatch."""
    # An iterator is refused: reading it would take the events away from the engine.
    if type(batch) is list:
        return batch
    if isinstance(batch, Mapping | str | bytes | bytearray | memoryview) or not (
        isinstance(batch, Collection)
    ):
        _refuse(batch, kind)
    try:
        return list(batch)
    except Exception as error:  # the collection's own code runs here
        if not comes_of(error, list, batch):
            raise
        raise NotABatch(f"a batch of {kind} could not be read: {_shown(error)}") from error


def unreadable(error: Exception, read: Callable[[Any], object], batch: Any) -> NotABatch | None:
    """Return the error for a ``batch`` whose own code raises ``error`` when it is ``read``.

    None: ``error`` itself has to go on, because it is one already, or was thrown in.
    """
    if isinstance(error, NotABatch | MemoryError) or not comes_of(error, read, batch):
        return None
    return NotABatch(f"a batch could not be read: {_shown(error)}")


def _shown(error: Exception) -> str:
    try:
        return repr(error)
    except Exception as again:  # its own code runs here
        if not comes_of(again, repr, error):
            raise
        return "an exception that cannot be shown"


def _refuse(batch: Any, kind: str) -> NoReturn:
    raise NotABatch(
        f"a batch of {kind} must be a list (or another sized collection) of events, "
        f"not {type_of(batch)}; offer a single event as [event]"
    )


def type_of(value: Any) -> str:
    """Return the name of the value's type, for messages."""
    return type(value).__name__
