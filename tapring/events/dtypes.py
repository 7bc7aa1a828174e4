"""Which numpy dtypes an ``array`` stage can have, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def check(dtype: np.dtype[Any]) -> None:
    """Raise ValueError for a dtype whose records cannot be shared, or not be shown as JSON."""
    if dtype.hasobject or not dtype.itemsize or dtype.subdtype:
        raise ValueError(
            f"invalid dtype {dtype}: an array stage needs fields of fixed size, without Python "
            f"objects"
        )
    for name, of in _fields("", dtype):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"invalid dtype: its field {name!r} has no name in UTF-8") from None
        if of.kind in "Mm" and of.str.endswith("8"):
            raise ValueError(
                f"invalid dtype {dtype}: the times of field {name!r} have no unit; use one such as "
                f"{of.str}[ns]"
            )


def check_described(dtype: np.dtype[Any]) -> None:
    """Raise ValueError for a dtype that a consumer would not read as it is."""
    from numpy.lib.format import descr_to_dtype, dtype_to_descr

    try:
        same = descr_to_dtype(dtype_to_descr(dtype)) == dtype
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"invalid dtype {dtype}: its fields overlap, or do not lie in the order of their "
            f"names. Give them in the order of their offsets, each behind the one before"
        )


def _fields(name: str, dtype: np.dtype[Any]) -> Iterator[tuple[str, np.dtype[Any]]]:
    """Each field, at any depth, with its path."""
    of = dtype.base
    if of.names is None:
        yield name, of
        return
    for each in of.names:
        yield from _fields(f"{name}.{each}" if name else each, of[each])
