"""``tapring close``: ends a session that was opened to be kept."""

from __future__ import annotations

from typing import Final

import click

from ..consumer.opening import close_session
from ..errors import TapError
from .arguments import ADDRESS, offers
from .command import Command
from .messages import fail

_EXAMPLES: Final = ("tapring close shop.0a1b2c3d:8    # the address that tapring open printed",)


@click.command("close", cls=Command, examples=_EXAMPLES)
@click.argument(
    "addresses",
    metavar="ADDRESS...",
    nargs=-1,
    required=True,
    type=ADDRESS,
    shell_complete=offers("kept_sessions"),
)
def command(addresses: tuple[str, ...]) -> None:
    """End sessions that tapring open made.

    A consumer that reads one still gets what is left. ADDRESS is ENGINE.LANE:ID, as tapring open
    printed it and tapring ls shows it. A session that its engine registered ends with its engine,
    one that a consumer opened ends with its consumer; both are refused here.
    """
    for address in addresses:
        try:
            close_session(address)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="ADDRESS") from None
        except (TapError, OSError) as error:
            fail(error)
