"""``tapring``: the commands by name. Only the one that runs is loaded, so that it starts fast."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from .._version import __version__
from ..errors import suggest
from ..shm.platform import UNSUPPORTED
from .messages import fail

_MODULES: Final = {
    "attach": ".attach",
    "close": ".close",
    "gc": ".gc",
    "ls": ".ls",
    "open": ".open",
    "pipe": ".pipe",
    "replay": ".replay",
}


class Commands(click.Group):
    """A group whose commands are modules. A mistyped name suggests similar ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``, imported now; None if there is none."""
        return load(cmd_name) if cmd_name in _MODULES else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click resolves it, with a suggestion in the error."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            ctx.fail(
                f"no such command {name!r}{suggest(name, known)}; there are {', '.join(known)}"
            )
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


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tapring")
def main() -> None:
    """See what a running Python engine sees, live, without slowing it down."""
