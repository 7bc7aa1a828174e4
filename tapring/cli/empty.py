"""Refuses empty arguments: an unset variable of the shell left them so."""

from __future__ import annotations

import click


def refuse_empty(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    """Raise click.UsageError, which names it, if an option or argument in ``args`` is empty.

    No option means anything by an empty text, and it is easily taken for one that was left out.
    """
    if "" not in args and not any(each.endswith("=") for each in args):
        return
    given, _, _ = command.make_parser(ctx).parse_args(args=list(args))
    for param in command.get_params(ctx):
        value = given.get(param.name or "")
        if value == "" or (isinstance(value, (tuple, list)) and "" in value):
            raise click.UsageError(
                f"{_name_of(param)} is empty; perhaps a shell variable is not set. Give it a "
                f"value, or leave it out",
                ctx,
            )


def _name_of(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return (param.metavar or param.name or "").rstrip(".").upper()
