"""Options that several commands share, so that they mean and say the same everywhere."""

from __future__ import annotations

from typing import Final

import click

from .arguments import Count, OneOf, Size

BUFFER: Final = click.option(
    "--buffer",
    type=Size(),
    default=None,
    help="The size of the ring in shared memory: 16MiB.",
)
SAMPLE_BATCHES: Final = click.option(
    "--sample-batches",
    type=Count(),
    metavar="N",
    help="The engine offers one batch in N. This saves it work: it does not serialize the others.",
)
SUMMARY: Final = click.option(
    "--summary",
    type=OneOf(["text", "json", "none"]),
    metavar="HOW",
    default="text",
    show_default=True,
    help="What to print on standard error at the end: text, json or none.",
)
WAIT: Final = click.option("--wait", is_flag=True, help="Wait for the engine to appear.")
