"""The field on which rounds are played: an engine that outlives them, the sums, the cleaning up."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from tapring.shm.segment import DIRECTORY, names
from tapring.shm.sweep import sweep

from . import processes, recycling_plan, witness
from .accountant import Difference, Totals
from .inspection import check_end
from .plan import draw, veteran
from .players import Engine
from .processes import Hung, wait_for, wait_for_end
from .recycling_plan import is_recycling
from .recycling_round import RecyclingRound
from .remains import Remains, remove
from .rounds import Counts, Round

_ROUNDS_OF_A_VETERAN: Final = 20


class Field:
    """The field on which rounds are played."""

    def __init__(self, seed: str, place: Path) -> None:
        self.seed = seed
        self.place = place
        self.prefix = f"t-{os.getpid()}-"
        self.number = 0
        self.counts = Counts()
        self.totals = Totals()
        self.veteran: Engine | None = None
        self._veterans = itertools.count()

    def play(self, number: int) -> None:
        """Play round ``number``. Raises Difference or Hung."""
        self.number = number
        place = self.place / f"round-{number}"
        prefix = f"{self.prefix}{number}-"
        if is_recycling(number):
            plan = recycling_plan.draw(self.seed, number)
            self.totals.add(RecyclingRound(plan, prefix, place, self.counts).play())
        else:
            self.totals.add(self._play_beside_the_veteran(number, prefix, place))
        shutil.rmtree(place)
        self.counts.rounds += 1
        if self.counts.rounds % _ROUNDS_OF_A_VETERAN == 0:
            self.retire()

    def _play_beside_the_veteran(self, number: int, prefix: str, place: Path) -> Totals:
        if self.veteran is None:
            name = f"{self.prefix}v{next(self._veterans)}"
            orders = veteran(f"{self.seed}/veteran/{number // _ROUNDS_OF_A_VETERAN}")
            self.veteran = Engine(name, orders, self.place / name)
            self.veteran.start()
        return Round(draw(self.seed, number), prefix, place, self.veteran, self.counts).play()

    def retire(self) -> None:
        """End the engine that outlives the rounds; check that it did not grow."""
        if self.veteran is None:
            return
        old, self.veteran = self.veteran, None
        old.control[witness.STOP] = 1
        wait_for_end(old.children[0], old.name)
        check_end(old.children[0], (0,), old.name)
        remains = Remains(old.name, old.orders, poor=False)
        remains.check(old.lanes())
        self.counts.recorded.add(remains.found)
        remove(old.name)
        left = [*names(f"tapring.{old.name}."), *names(f"sem.tapring.{old.name}.")]
        if left:
            raise Difference(f"{old.name} has closed and left {left}")
        shutil.rmtree(old.place)

    def clean(self) -> None:
        """Remove everything, whatever happened."""
        for pid in processes.children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(Hung):
            wait_for(lambda: not [p for p in processes.children() if processes.still(p)], "the end")
        sweep(f"{self.prefix}*")  # the requests, too
        for path in Path(DIRECTORY).glob(f"*.{self.prefix}*"):
            path.unlink(missing_ok=True)
