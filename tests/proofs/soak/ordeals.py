"""What happens to an engine inside its own process while it offers, one class for each.

An ordeal is entered, and then touches each batch. ``met`` counts how often it happened in the
middle of an offer, where it was meant to.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import msgspec

from . import events, processes
from .refusals import ERRORS, POSSIBLE, Refusals, refuse

if TYPE_CHECKING:
    from .besieged import Besieged

UNIT: Final = 7
"""Every batch of a besieged engine has a multiple of this many events, so that one which is counted
in part is found."""

HANDLER, FINALIZER, CALLBACK, HOOK, REFUSED = range(1, 6)
"""What offers besides the main thread, 0: each numbers its own events, like a thread."""
SOURCES: Final = 6

_STORM_S: Final = (0.0003, 0.001)
_OFTEN: Final = 1e-5  # between two threads


class Ordeal:
    """One thing that happens to an engine. ``enough``: how often is."""

    enough = 3

    def __init__(self, engine: Besieged, random: Random) -> None:
        self._engine = engine
        self._random = random
        self.met = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def touch(self, stage: str, batch: Any) -> Any:
        """Return what to offer instead of ``batch``."""
        return batch

    def begin(self) -> None:
        """Do something just before the offer."""

    def look(self) -> None:
        """See what has happened during the offer."""

    def between(self) -> None:
        """Do something between two batches."""

    def _note(self) -> None:
        self.met += self._engine.offering


class Beside(Ordeal):
    """Another thread that changes what is offered, all the time."""

    def __enter__(self) -> None:
        self._over = False
        self._changes = self._before = 0
        self._aimed: tuple[str, Any] = "", None
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(_OFTEN)
        self._thread = Thread(target=self._go_on)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()
        sys.setswitchinterval(self._interval)

    def look(self) -> None:
        self.met += self._changes != self._before
        self._aimed = "", None

    def _aim(self, stage: str, batch: Any) -> Any:
        self._aimed = stage, batch  # at once: the other thread looks at any time
        self._before = self._changes
        return batch

    def _go_on(self) -> None:
        random = Random(self._random.random())
        while not self._over:
            stage, target = self._aimed
            if target is not None and len(target):
                try:
                    self._change(stage, target, random)
                except (BufferError, ValueError, LookupError):  # it is being read, or has shrunk
                    continue
                self._changes += 1
            time.sleep(random.choice((0, 0, 1e-5)))

    def _change(self, stage: str, target: Any, random: Random) -> None:
        raise NotImplementedError


class Lists(Beside):
    """Lists that grow, shrink and are cleared. Each change is of whole units, and in order."""

    def touch(self, stage: str, batch: Any) -> Any:
        if type(batch) is not list:
            return batch
        half = len(batch) // UNIT // 2 * UNIT or UNIT
        self._more = [batch[at : at + UNIT] for at in range(half, len(batch), UNIT)][::-1]
        return self._aim(stage, batch[:half])

    def _change(self, stage: str, target: Any, random: Random) -> None:
        how = random.random()
        if how < 0.05:
            target.clear()
        elif how < 0.5:
            del target[-UNIT:]
        elif self._more:
            target.extend(self._more.pop())


class Contents(Beside):
    """Events that change, except for what tells who they are."""

    def touch(self, stage: str, batch: Any) -> Any:
        if stage in ("raw", "blob") and type(batch) is list:
            for at, event in enumerate(batch):
                if type(event) is bytes:
                    batch[at] = self._random.choice((bytes, bytearray, memoryview))(event)
        return self._aim(stage, batch)

    def _change(self, stage: str, target: Any, random: Random) -> None:
        if stage == "grid":
            target["pad"] = target["pad"][::-1].copy()
            return
        event = target[random.randrange(len(target))]
        if type(event) is dict:
            if not event.pop("more", None):
                event["more"] = "x" * random.randrange(200)
        elif type(event) is bytearray:
            if len(event) > 200:
                del event[-100:]
            else:
                event += b"x" * random.randrange(1, 100)
        elif type(event) is memoryview and random.random() < 0.01:
            event.release()


class Signals(Ordeal):
    """A handler, every few hundred microseconds, that offers."""

    raises = False

    def __enter__(self) -> None:
        self._old = signal.signal(signal.SIGALRM, self._handle)
        every = self._random.uniform(*_STORM_S)
        signal.setitimer(signal.ITIMER_REAL, every, every)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._old)
        processes.be_mortal()  # its alarm is the same timer

    def _handle(self, *_: object) -> None:
        self._note()
        self._engine.offer_as(HANDLER)


class Limit(Exception):
    """What a handler raises: a job's time limit."""


class Exceptions(Signals):
    """A handler that raises, too."""

    def _handle(self, *_: object) -> None:
        engine = self._engine
        if self._random.random() < 0.5:
            engine.offer_as(HANDLER)
        if engine.exposed:
            engine.exposed = False
            kind = self._random.choice((Limit, TimeoutError, KeyboardInterrupt))
            engine.thrown.append(kind("a signal handler's"))
            self._note()
            raise engine.thrown[-1]


class Finalizers(Ordeal):
    """Garbage whose finalizers offer."""

    source = FINALIZER

    def __enter__(self) -> None:
        self._threshold = gc.get_threshold()
        gc.set_threshold(self._random.choice((20, 50, 100)))

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._threshold)

    def begin(self) -> None:
        for _ in range(3):
            self._drop()

    def _drop(self) -> None:
        _Dying(self._act)

    def _act(self, *_: object) -> None:
        self._note()
        self._engine.offer_as(self.source)


class _Dying:
    """A cycle, so that only a collection ends it."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._me = self

    def __del__(self) -> None:
        self._act()


class Callbacks(Finalizers):
    """Weak references whose callbacks offer."""

    source = CALLBACK

    def __enter__(self) -> None:
        super().__enter__()
        self._references: deque[Any] = deque(maxlen=50)

    def _drop(self) -> None:
        self._references.append(weakref.ref(_Dying(lambda: None), self._act))


class Collections(Finalizers):
    """The garbage collector, and what it calls, in the middle."""

    def __enter__(self) -> None:
        super().__enter__()
        gc.callbacks.append(self._collected)

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._collected)
        super().__exit__()

    def _drop(self) -> None:
        _Dying(lambda: None)

    def _collected(self, phase: str, _info: object) -> None:
        if phase == "start":
            self._note()


class Odd:
    """A value that JSON does not have. ``how``: what an ``enc_hook`` does with it."""

    def __init__(self, how: Callable[[], Any]) -> None:
        self.how = how


def hook(value: Any) -> Any:
    """The ``enc_hook`` of a besieged engine."""
    if type(value) is not Odd:
        raise TypeError(f"what is a {type(value).__name__}?")
    return value.how()


class Hooks(Ordeal):
    """Values that the engine's ``enc_hook`` serializes: it returns text."""

    def touch(self, stage: str, batch: Any) -> Any:
        if stage == "decoded":
            for event in self._random.sample(batch, 3):
                event["pad"] = Odd(self._act)
        return batch

    def _act(self) -> Any:
        self._note()
        return "text"


class RaisingHooks(Hooks):
    """It raises."""

    def _act(self) -> Any:
        self._note()
        raise RuntimeError("no text")


class RecursingHooks(Hooks):
    """It serializes another such value."""

    def _act(self) -> Any:
        self._note()
        return msgspec.Raw(msgspec.json.encode([Odd(str)], enc_hook=hook))


class OfferingHooks(Hooks):
    """It offers."""

    def _act(self) -> Any:
        self._note()
        self._engine.offer_as(HOOK)
        return "text"


class UselessHooks(Hooks):
    """It returns what nobody can serialize either."""

    def _act(self) -> Any:
        self._note()
        return object()


class Unserializable(Ordeal):
    """Events that cannot be serialized, anywhere in a batch."""

    def touch(self, stage: str, batch: Any) -> Any:
        self._before = self._engine.errors()
        if type(batch) is list:
            for at in self._random.sample(range(len(batch)), 2):
                batch[at] = {"raw": 7, "decoded": {"what": object()}, "blob": "text"}[stage]
        return batch

    def look(self) -> None:
        self.met += self._engine.errors() > self._before


class _Refused(Ordeal):
    """A thread that opens, offers to and ends sessions while the kernel refuses it something."""

    what = ""

    def between(self) -> None:
        thread = Thread(target=self._suffer)
        thread.start()
        thread.join()

    def _suffer(self) -> None:
        engine = self._engine
        refusals = Refusals()
        refuse(self.what, self._random.choice(ERRORS[self.what]))
        sys.setprofile(refusals.note)
        engine.close_session()
        engine.open_sessions(len(events.STAGES))
        for _ in range(3):
            engine.offer_as(REFUSED)
        sys.setprofile(None)
        self.met += refusals.met


class Locks(_Refused):
    """No lock can be had."""

    what = "locks"


class Maps(_Refused):
    """Nothing can be mapped."""

    what = "maps"


class Reserves(_Refused):
    """No memory can be reserved."""

    what = "reserves"


class Descriptors(Ordeal):
    """The engine closes the tap's descriptors, and its own files take their numbers."""

    enough = 1

    def __enter__(self) -> None:
        self._numbers = self._engine.descriptors()
        for number in self._numbers:
            os.closerange(number, number + 1)
        self._files: dict[int, os.stat_result] = {}
        while not self._files.keys() >= self._numbers:
            self._take()

    def _take(self) -> None:
        number = os.memfd_create("an engine's own file")
        self._files[number] = os.fstat(number)

    def between(self) -> None:
        """End a session, whose row cannot be freed any more, and begin one that cannot be."""
        self._engine.close_session()
        self._engine.open_sessions(1)
        self.met += 1

    def wrong(self) -> list[str]:
        """What happened to the files since. Then closes them."""
        found = []
        for number, status in self._files.items():
            try:
                if not os.path.samestat(os.fstat(number), status):
                    found.append(f"{number} is another file")
                elif _is_locked(number):
                    found.append(f"{number} is locked")
                else:
                    os.close(number)
            except OSError as error:
                found.append(f"{number}: {error}")
        return found


def _is_locked(number: int) -> bool:
    status = os.fstat(number)
    device = status.st_dev
    file = f" {os.major(device):02x}:{os.minor(device):02x}:{status.st_ino} "
    with open("/proc/locks") as locks:
        return any(file in line for line in locks)


ORDEALS: Final[dict[str, type[Ordeal]]] = {
    "signals": Signals,
    "exceptions": Exceptions,
    "finalizers": Finalizers,
    "callbacks": Callbacks,
    "collections": Collections,
    "hooks": Hooks,
    "raising-hooks": RaisingHooks,
    "recursing-hooks": RecursingHooks,
    "offering-hooks": OfferingHooks,
    "useless-hooks": UselessHooks,
    "unserializable": Unserializable,
    "locks": Locks,
    "maps": Maps,
    "reserves": Reserves,
    "descriptors": Descriptors,
    # Last, because what changes a batch beside its offer has to get it last.
    "contents": Contents,
    "lists": Lists,
}

SCARCE: Final = ("locks", "maps", "reserves") if POSSIBLE else ()
"""Those by which a session may end or be refused."""
LAST: Final = "descriptors"
"""The one after which no other process sees the engine."""
STORMS: Final = ("signals", "exceptions")
"""Those that need the same timer."""
HOOKS: Final = tuple(name for name, each in ORDEALS.items() if issubclass(each, Hooks))
"""Those that need an ``enc_hook``."""
