"""Batches of anything, offered to stages of each kind by an engine whose values do as they like.

No exception leaves ``offer``. What is a batch is counted whole: its events come as each is by
itself, or are errors with a reason. What is none is misuse. No session ends.
"""

from __future__ import annotations

from .choices import Choices
from .odd import batch
from .offers import NAMES, Engine


def one_input(data: bytes) -> str:
    choices = Choices(data)
    engine = Engine(choices)
    stage = choices.pick(NAMES)
    try:
        while choices:
            engine.offer(stage, batch(choices))
    finally:
        engine.close()
    return engine.outcome()
