"""``tapring open``: opens a session that outlives its consumers."""

from __future__ import annotations

import math
from typing import Final

import click

from ..consumer.opening import capture
from ..errors import TapError
from .arguments import ADDRESS, Duration, offers
from .command import Command
from .messages import fail, note
from .options import BUFFER, SAMPLE_BATCHES, WAIT
from .silence import Waiting
from .summary import lanes_refused
from .time_limits import end_of_kept

_EXAMPLES: Final = (
    "tapring open shop --stage raw    # prints the address of the session",
    "tapring attach shop.0a1b2c3d:8   # reads it; may be killed, and go on later",
    "tapring close shop.0a1b2c3d:8",
)


@click.command("open", cls=Command, examples=_EXAMPLES)
@click.argument("address", type=ADDRESS)
@click.option(
    "--stage",
    default="decoded",
    show_default=True,
    shell_complete=offers("stages"),
    help="The stage to capture.",
)
@click.option(
    "--duration",
    type=Duration(),
    default=None,
    help="End the session after this long (30s, 8h), at most the engine's limit.  "
    "[default: 5m, or the engine's limit if that is less]",
)
@BUFFER
@SAMPLE_BATCHES
@WAIT
def command(
    address: str,
    stage: str,
    duration: float | None,
    buffer: int | None,
    sample_batches: int | None,
    wait: bool,
) -> None:
    """Open a session that outlives its readers.

    It is opened on each lane of ADDRESS, and its address is printed. If no session can be opened on
    some of the lanes, standard error says on which and why.

    The engine writes to its ring from its next batch on, and tapring attach reads it. If that
    consumer ends or is killed, the next one continues at the next event. The session ends with
    its duration, with its engine, or with tapring close. Without --duration, standard error says
    when it ends.
    """
    if duration == 0:
        raise click.BadParameter(
            "Invalid duration '0'. No consumer's end ends this session, so say how long it may "
            "last: 5m, 8h or 1d.",
            param_hint="--duration",
        )
    try:
        with Waiting(address) as waiting:
            session = capture(
                address,
                stage=stage,
                duration=duration,
                buffer_bytes=buffer,
                sample=sample_batches or 1,
                wait=math.inf if wait else 0.0,
                keep=True,
                on_wait=waiting,
            )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ADDRESS") from None
    except (TapError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before the session was open")
    with session:
        click.echo("\n".join(session.addresses))
        for line in lanes_refused(session.lanes_refused):
            note(line)
        if duration is None:
            note(end_of_kept(session))
