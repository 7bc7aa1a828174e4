"""Options that several commands share, so that they mean and say the same everywhere."""

from __future__ import annotations

from typing import Final

import click

from ..files.formats import SUFFIXES
from ..files.writing import STDOUT
from .arguments import Count, OneOf, Size, SizeOrTime, offers

BUFFER: Final = click.option(
    "--buffer",
    type=Size(),
    default=None,
    help="The size of the ring in shared memory: 16MiB.",
)
FORCE: Final = click.option(
    "--force",
    is_flag=True,
    help="With -o: replace an older file, once the new one is complete.",
)
KEEP: Final = click.option(
    "--keep",
    type=Count(),
    metavar="N",
    help="With --rotate: of the complete files, keep the last N. Older ones of this capture are "
    "removed, and counted in the summary.",
)
OUTPUT: Final = click.option(
    "-o",
    "--output",
    default=STDOUT,
    shell_complete=offers("files"),
    metavar="PATH",
    help=f"Write to this file. Its suffix is its format: {', '.join(SUFFIXES)}. It is compressed "
    f"with .gz or .zst behind that. It is called PATH.part until it is complete; PATH.meta.json "
    f"describes it.",
)
ROTATE: Final = click.option(
    "--rotate",
    type=SizeOrTime(),
    help="Start a new file after this size (100MiB) or time (10m). The files are numbered: "
    "000001, 000002, ...",
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
