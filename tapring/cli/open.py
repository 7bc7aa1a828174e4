"""``tapring open``: a session that outlives whoever reads it."""

from __future__ import annotations

import math

import click

from ..consumer.opening import capture
from ..errors import TapError
from .arguments import ADDRESS, Count, Duration, Size, fail


@click.command("open")
@click.argument("address", type=ADDRESS)
@click.option("--stage", default="decoded", show_default=True, help="The stage to capture.")
@click.option(
    "--duration",
    type=Duration(),
    default=None,
    help="End it after this long (30s, 5m).  [default: the engine's limit]",
)
@click.option("--buffer", type=Size(), default=None, help="Size of the ring, such as 16MiB.")
@click.option(
    "--sample-batches",
    type=Count(),
    default=1,
    metavar="N",
    help="Have the engine offer one batch in N; it does not serialize the others.",
)
@click.option("--wait", is_flag=True, help="Wait for the engine to appear.")
def command(
    address: str,
    stage: str,
    duration: float | None,
    buffer: int | None,
    sample_batches: int,
    wait: bool,
) -> None:
    """Open a session that is kept, and print its address: one of each lane of ADDRESS.

    The engine fills its ring from its next batch on. tapring attach reads it; whoever attaches
    after a consumer has ended, or was killed, goes on at the very event. It ends with its duration,
    with its engine, or with tapring close.
    """
    try:
        session = capture(
            address,
            stage=stage,
            duration=duration or None,
            buffer_bytes=buffer,
            sample=sample_batches,
            wait=math.inf if wait else 0.0,
            keep=True,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ADDRESS") from None
    except (TapError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted before the session was opened")
    with session:
        click.echo("\n".join(session.addresses))
