"""The kit's command line: which checks to make, and what is printed of each."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, NoReturn

from . import ended, good, refused, resumed  # noqa: F401
from .cases import CASES, Skipped
from .killed import check_killed
from .live import ENDS, check_live
from .payloads import KINDS
from .running import Failed, check, environment_is_fit
from .stepped import check_stepped

AT_LEAST_ONCE: Final = "at-least-once"
_ABOUT: Final = "Check a reader of rings against docs/protocol.md. See docs/conformance.md."
DELIVERIES: Final = (AT_LEAST_ONCE, "at-most-once")


class Check(NamedTuple):
    """A check by its name; ``make`` raises Failed or Skipped."""

    name: str
    make: Callable[[], None]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"conformance: {message}\n")
        sys.exit(2)


def main(arguments: Sequence[str]) -> int:
    """Make the checks that are asked for. Return 1 if any failed."""
    asked = _parsed(arguments)
    deliveries = DELIVERIES if asked.delivery == "both" else (asked.delivery,)
    failed = made = 0
    for delivery in deliveries:
        command = asked.command
        if asked.delivery == "both" and delivery == AT_LEAST_ONCE:
            command = [*command, "--at-least-once"]
        for each in checks(command, asked.kinds, delivery, asked.seed):
            if not each.name.startswith(asked.only):
                continue
            made += 1
            failed += _report(each, f" ({delivery})" if asked.delivery == "both" else "")
    if not made:
        sys.stderr.write(f"conformance: no check is called {asked.only}\n")
        return 2
    return 1 if failed else 0


def checks(
    command: Sequence[str], kinds: Sequence[str], delivery: str, seed: int = 1
) -> Iterator[Check]:
    """Every check of a reader of these kinds with this delivery."""
    for case in CASES:
        if case.kind in kinds:
            yield Check(case.name, partial(check, case, command))
    for kind in kinds:
        yield Check(f"{kind}-killed", partial(check_killed, kind, command, delivery))
        yield Check(f"{kind}-stepped", partial(check_stepped, kind, command, delivery))
        for end in ENDS:
            made = partial(check_live, kind, end, command, delivery, seed)
            yield Check(f"{kind}-live-{end}", made)


def _report(each: Check, delivery: str) -> bool:
    """Make a check and print its line; whether it failed."""
    name = each.name + delivery
    try:
        each.make()
    except Failed as failure:
        print(f"not ok   {name}: {failure}", flush=True)
        return True
    except Skipped as skipped:
        print(f"skipped  {name}: {skipped}", flush=True)
    else:
        print(f"ok       {name}", flush=True)
    return False


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="conformance", description=_ABOUT, allow_abbrev=False)
    parser.add_argument("--kinds", default=",".join(KINDS), help="that the reader prints")
    parser.add_argument("--delivery", default=AT_LEAST_ONCE, choices=[*DELIVERIES, "both"])
    parser.add_argument("--only", default="", metavar="NAME", help="checks that begin like this")
    parser.add_argument("--seed", default=1, type=int, help="of the moments of the kills")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="that starts a reader")
    asked = parser.parse_args(arguments)
    asked.kinds = asked.kinds.split(",")
    for kind in asked.kinds:
        if kind not in KINDS:
            parser.error(f"unknown kind {kind!r}; the kinds are {', '.join(KINDS)}")
    if shutil.which(asked.command[0]) is None:
        parser.error(f"{asked.command[0]} cannot be run")
    if reason := environment_is_fit():
        parser.error(reason)
    return asked
