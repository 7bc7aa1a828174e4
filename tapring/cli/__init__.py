"""``tapring``: the commands by name. Only the one that runs is loaded, so that it starts fast."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from .._version import __version__
from ..errors import suggest
from ..shm.platform import UNSUPPORTED
from .command import Commands
from .messages import fail

# In the order in which --help lists them: what an operator needs first comes first.
_MODULES: Final = {
    "ls": ".ls",
    "top": ".top",
    "attach": ".attach",
    "stats": ".stats",
    "dump": ".dump",
    "record": ".record",
    "serve": ".serve",
    "cat": ".cat",
    "open": ".open",
    "close": ".close",
    "replay": ".replay",
    "pipe": ".pipe",
    "gc": ".gc",
    "schema": ".schema",
    "completion": ".completion",
}
_EXAMPLES: Final = (
    "tapring ls                          # which engines run here",
    "tapring top                         # the same, full screen and live",
    "tapring attach shop                 # the events of engine shop, until Ctrl-C",
    "tapring attach shop -o shop.ndjson  # write them to a file",
    "tapring dump shop --last 30s        # what it recorded before it died",
    "tapring cat shop.ndjson --grep pay  # look into the file",
    "tapring stats shop --by level       # count them, live",
    "tapring attach --help               # filter, sample, redact, formats",
)


class Lazy(Commands):
    """A group whose commands are modules. A mistyped name suggests similar ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``, imported now; None if there is none."""
        return load(cmd_name) if cmd_name in _MODULES else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click parses them; ``help`` and ``help COMMAND`` are ``--help`` of that."""
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click resolves it, with a suggestion in the error."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            near = suggest(name, known) or f"; there are {', '.join(known)}"
            ctx.fail(f"no such command {name!r}{near}")
        return super().resolve_command(ctx, args)


def load(name: str) -> click.Command:
    """The command called ``name``. Where tapring does not run, it says so and exits."""
    if UNSUPPORTED is not None:
        accept = {"ignore_unknown_options": True, "allow_extra_args": True}
        return click.Command(
            name, callback=lambda: fail(UNSUPPORTED), help=UNSUPPORTED, context_settings=accept
        )
    command: click.Command = import_module(_MODULES[name], __package__).command
    return command


@click.group(cls=Lazy, examples=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tapring")
def main() -> None:
    """See what a running Python engine sees, live, without slowing it down."""
