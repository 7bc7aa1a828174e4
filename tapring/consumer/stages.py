"""Several stages of a session: the lanes that join in each of them, and stages that lanes bring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from weakref import ref

from ..shm.refusals import LaneRefused
from ..shm.registry import Registry
from .attachment import Attachment
from .joining import Following

Follow = Callable[[str, Callable[[Registry], object]], Following]
"""Makes what finds the lanes that join in one stage, and calls a function with each lane."""


class Stages:
    """The lanes that join a session of several ``stages``. To its user it is as a ``Following``.

    follow: see ``Follow``. open_ended: a lane may bring along a stage that is not known yet, after
    a deployment, say, and that is read, too.
    """

    def __init__(self, stages: Sequence[str], follow: Follow, *, open_ended: bool) -> None:
        self._follow = follow
        self._open_ended = open_ended
        self._followings = {each: self._following(each) for each in stages}

    @property
    def due_ns(self) -> int:
        """When to ``look`` next, on CLOCK_MONOTONIC."""
        return min(each.due_ns for each in self._each())

    @property
    def linger_ns(self) -> float:
        """How long the session goes on when no lane is left."""
        return max(each.linger_ns for each in self._each())

    @property
    def refused(self) -> tuple[LaneRefused, ...]:
        """The lanes that cannot be read, and why: each once, if the reason is not the stage."""
        return tuple(dict.fromkeys(one for each in self._each() for one in each.refused))

    def look(
        self,
        join: Callable[[Attachment], object],
        knows: Callable[[str, str, str], bool],
        *,
        last: bool = False,
    ) -> None:
        """Open a session on each lane that has appeared, of each stage. See ``Following``."""
        looked: list[Following] = []
        while more := [each for each in self._each() if each not in looked]:
            for each in more:  # it may meet a new stage
                each.look(join, knows, last=last)
                looked.append(each)

    def withdraw(self) -> None:
        """Look for no more lanes."""
        for each in self._each():
            each.withdraw()

    def detach(self) -> None:
        """In a forked child: leave everything to the parent."""
        for each in self._each():
            each.detach()

    def _each(self) -> Iterable[Following]:
        return tuple(self._followings.values())

    def meet(self, registry: Registry) -> None:
        """Learn of the stages of a lane."""
        for stage in registry.info.stages if self._open_ended else ():
            if stage.name not in self._followings:
                self._followings[stage.name] = self._following(stage.name)

    def _following(self, stage: str) -> Following:
        """Make what follows a stage. It does not keep this alive: no cycle keeps a lane's lock."""
        this = ref(self)

        def meet(registry: Registry) -> None:
            stages = this()
            if stages is not None:
                stages.meet(registry)

        return self._follow(stage, meet)
