"""click's types of parameters as generic classes, which they are in click 8.4 and later alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click import Choice as Choice
    from click import ParamType as ParamType
else:

    class ParamType(click.ParamType):
        """As click's, and ``ParamType[int]`` is the same class."""

        def __class_getitem__(cls, _: Any) -> type:
            return cls

    class Choice(click.Choice):
        """As click's, and ``Choice[str]`` is the same class."""

        def __class_getitem__(cls, _: Any) -> type:
            return cls
