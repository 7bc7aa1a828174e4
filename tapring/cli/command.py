"""A command of tapring: its help has examples and groups, and it speaks of errors on one line.

click has no groups of options, and spreads a usage error over four lines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from inspect import cleandoc
from typing import Any, Final, TypeVar

import click

from ..errors import TapError, suggest
from .empty import refuse_empty
from .messages import note, say
from .streams import escape_on_stdout, forgive_stderr, open_closed_streams, silence_stdout

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, of a command that does not end in good order by it."""
ENGINE_DIED: Final = 4
"""The exit code of a capture whose engine died while it ran."""
_OTHERS: Final = "Other options"
_GROUP: Final = "tapring_group"
_HELP: Final = "NoArgsIsHelpError"  # of click 8.2 and later
_WIDEST_NAME: Final = 26  # leaves more than half of 80 columns for what an option means


def group(
    title: str, *options: Callable[[Decorated], Decorated]
) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds options, in this order, which --help lists under ``title``."""

    def decorate(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
            setattr(command.__click_params__[-1], _GROUP, title)  # type: ignore[attr-defined]
        return command

    return decorate


def group_of(parameter: click.Parameter) -> str:
    """Return the title under which --help lists an option."""
    return getattr(parameter, _GROUP, _OTHERS)


class _Speaking(click.Command):
    """Shows examples in its help, and usage errors on one line."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **given: Any) -> None:
        super().__init__(*args, **given)
        self.examples = examples
        self.context_settings.setdefault("help_option_names", ["-h", "--help"])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """As click runs it, but for what it says of an error, and for unusable streams."""
        open_closed_streams()
        forgive_stderr()
        escape_on_stdout()
        run: Callable[[], Any] = partial(super().main, args, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
        except click.ClickException as error:
            _show(error)
            code = error.exit_code
        except click.Abort:
            note("interrupted")
            code = INTERRUPTED
        except BrokenPipeError:  # of standard output, as after tapring ls | head -1
            silence_stdout()
            code = 1
        except OSError as error:  # of standard output, as on a full disk
            silence_stdout()
            say(error)
            code = TapError.exit_code
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click parses them. An error names what is near, or where to read on."""
        try:
            if not ctx.resilient_parsing:
                refuse_empty(self, ctx, args)
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            options = self.get_params(ctx)
            known = [each for one in options for each in (*one.opts, *one.secondary_opts)]
            near = suggest(name, known) or f". See {ctx.command_path} --help"
            raise click.UsageError(f"no such option {name}{near}", ctx) from None
        except click.UsageError as error:
            if isinstance(error, click.BadParameter) and not isinstance(
                error, click.MissingParameter
            ):
                raise  # of our own types: it says what would be right
            if type(error).__name__ == _HELP:
                raise
            said = _in_words(error).rstrip(".")
            raise click.UsageError(f"{said}. See {ctx.command_path} --help", ctx) from None

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Usage, what the command does, examples, and only then the details."""
        self.format_usage(ctx, formatter)
        first, _, rest = cleandoc(self.help or "").partition("\n\n")
        _write_text(formatter, first)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        if rest:
            _write_text(formatter, rest)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)


class Command(_Speaking):
    """A command with examples, whose options may be in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options by group. A command without groups has one list of them."""
        listed: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                listed.setdefault(group_of(parameter), []).append(record)
        if len(listed) == 1:
            listed = {"Options": next(iter(listed.values()))}
        for title, records in listed.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=_WIDEST_NAME)


class Commands(_Speaking, click.Group):
    """A group of commands, which can have examples."""


def _write_text(formatter: click.HelpFormatter, text: str) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(text)


def _show(error: click.ClickException) -> None:
    """Say what is wrong with the usage; without any argument, show the help."""
    if type(error).__name__ == _HELP:
        error.show()
    else:
        say(_in_words(error))


def _in_words(error: click.ClickException) -> str:
    if not isinstance(error, click.BadParameter):
        return error.format_message()
    hint = error.param_hint
    if hint is None and error.param is not None:
        hint = name_of(error.param)
    if isinstance(error, click.MissingParameter):
        return f"missing {hint}"
    hint = hint if hint is None or isinstance(hint, str) else ", ".join(hint)
    return f"{hint}: {error.message}" if hint else error.message


def name_of(parameter: click.Parameter) -> str:
    """Return what an operator calls it: ``--output``, ``ADDRESS``."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return (parameter.metavar or parameter.name or "").rstrip(".").upper()
