"""An engine that handles orders, and dies of one of them: no exception, no traceback, no log line.

It records its decoded events, each before it handles it. So the last event of the recording is the
one that killed it::

    python examples/poisoned.py
    tapring ls --dead
    tapring dump shop --last 1
"""

from __future__ import annotations

import argparse
import ctypes
import random
from collections.abc import Iterator
from typing import Any

import tapring

PAID_WITH = ("card", "invoice", "voucher")


def main() -> None:
    """Handle orders until one of them ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--name", default="shop", help="the engine's name")
    parser.add_argument("--orders", type=int, default=20_000, help="how many come, at most")
    parser.add_argument("--poisoned", type=int, default=17_423, help="which of them is poisoned")
    given = parser.parse_args()
    with tapring.Tap(given.name, recorder="decoded") as tap:
        for order in orders(given.orders, given.poisoned):
            tap.emit("decoded", order)  # before it is handled: afterwards may be too late
            handle(order)
    print("all orders were handled")


def orders(count: int, poisoned: int) -> Iterator[dict[str, Any]]:
    """Orders, the same ones each time. The poisoned one has no weight."""
    chance = random.Random(7)
    for number in range(1, count + 1):
        order: dict[str, Any] = {
            "order": number,
            "paid_with": chance.choice(PAID_WITH),
            "cents": chance.randrange(100, 100_000),
            "grams": chance.randrange(50, 5_000),
        }
        if number == poisoned:
            order["grams"] = None
        yield order


def handle(order: dict[str, Any]) -> None:
    """Weigh the order with a library in C, which does not check what it is given."""
    if order["grams"] is None:
        ctypes.string_at(0)  # as such a library does: it reads where nothing is (SIGSEGV)


if __name__ == "__main__":
    main()
