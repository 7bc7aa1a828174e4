"""The steps that all kinds share: each counts what it leaves out."""

import itertools
import sys
from collections.abc import Collection
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tapring.events.blob_sieve import BlobSieve
from tapring.events.kinds import Array, Blobs, Json, Lines
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.events.sieve import make_sieve
from tapring.events.steps import Failure, KeptAway, Sifted
from tapring.events.text_sieve import TextSieve
from tests.proofs.throwing import Thrower


def test_each_step_counts_its_own_events() -> None:
    steps = TextSieve(Json(), Select(where="n > `1`", sample=2, rate="10/s"), None, None)
    passing = steps.passing([{"n": n} for n in range(60)])
    assert passing == list(range(2, 60))
    sampled = steps.sampled(passing)
    assert sampled == passing[::2]
    assert list(steps.rated(sampled, 0)) == sampled[:1]
    assert steps.away == KeptAway(where=2, sample=29, rate=28)
    assert steps.away.filtered == 59


def test_sampling_by_value_is_part_of_looking_into_events() -> None:
    steps = TextSieve(Json(), Select(sample=3, by="user"), None, None)
    events = [{"user": n % 30} for n in range(300)]
    passing = steps.passing(events)
    assert 0 < len(passing) < 300
    assert steps.sampled(passing) == passing
    assert steps.away.sample == 300 - len(passing)


def test_the_keys_of_events_are_remembered_up_to_a_bound_for_typos() -> None:
    steps = TextSieve(Json(), Select(where="a"), None, None)
    steps.passing([{"user": {"name": 1}, "ips": [{"v4": 1}], "plain": 1}])
    assert list(steps.seen_keys) == ["user", "user.name", "ips", "ips.v4", "plain"]
    steps.passing([{f"key{n}": n for n in range(1_000)}])
    assert len(steps.seen_keys) == 200


@pytest.mark.parametrize(
    ("wrap", "levels"), [(lambda x: {"a": x}, 20), (lambda x: [{"a": x}], 10)], ids=["", "lists"]
)
def test_keys_are_remembered_up_to_a_depth(wrap, levels) -> None:
    """A list is a level, too."""
    steps = TextSieve(Json(), Select(where="a"), None, None)
    event: object = 1
    for _ in range(30):
        event = wrap(event)
    steps.note_keys([event])
    assert [key.count(".") for key in steps.seen_keys] == list(range(levels))


# ---- events that raise ----------------------------------------------------------------------


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b'"secret"' + b"}" * levels + b"\n"


DEEP = deep(600)  # msgspec reads it; a function that calls itself does not reach its end
PLAIN = [b'{"n":%d,"a":"secret"}\n' % n for n in range(5)]


@pytest.fixture(autouse=True)
def few_levels():
    """A stack that one kilobyte of JSON can exhaust, on every version of Python."""
    before = sys.getrecursionlimit()
    # Up to 3.11 msgspec's own calls count, too, and each comprehension is one more.
    sys.setrecursionlimit(900 if sys.version_info < (3, 12) else 500)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("kind", [Lines(), Json()], ids=lambda kind: kind.name)
@pytest.mark.parametrize("regex", ["sec[r]et", None], ids=["regex", "paths"])
def test_an_event_that_cannot_be_redacted_is_withheld_alone(regex, kind, at) -> None:
    redactor = Redactor("a" if regex is None else "b", regex=regex)
    sieve = make_sieve(kind, None, redactor)
    lines = [*PLAIN[:at], DEEP, *PLAIN[at:]]
    sifted = sieve.sift(b"".join(lines), len(lines), 0)
    assert sifted.places == [i for i in range(6) if i != at]
    left = kind.unpack(sifted.payload, sifted.count)[0]
    events = [each if isinstance(each, dict) else msgspec.json.decode(each) for each in left]
    assert events == [{"n": n, "a": redactor.token("secret")} for n in range(5)]
    assert b"secret" not in sifted.payload
    assert sieve.away == KeptAway(redaction=1, failures={"RecursionError": Failure(1)})


def failing(at: Collection[int]) -> Any:
    """A step that raises for some events, as if it were of the package."""
    ours: dict[str, Any] = {"__name__": "tapring.of_this_test", "at": at}
    exec("def takes(event):\n    return not (event['n'] in at and 1 / 0)", ours)
    return SimpleNamespace(takes=ours["takes"], one_in=1, by="n", turn=0)


@pytest.mark.parametrize(
    "kind", [Lines(), Json(), Array([("n", "i8"), ("a", "S6")])], ids=lambda k: k.name
)
@pytest.mark.parametrize("at", [(0,), (4,), (1, 2), range(5)])
def test_an_event_that_makes_the_selection_raise_is_left_out_alone(kind, at) -> None:
    select = Select()
    select.sample = failing(at)
    sieve = make_sieve(kind, select)
    payload = (
        b"".join(PLAIN) if kind.name != "array" else kind.pack([(n, b"x") for n in range(5)])[0]
    )
    sifted = sieve.sift(bytes(payload), 5, 0)
    assert sifted.count == 5 - len(at)
    assert list(sifted.places) == [n for n in range(5) if n not in at]
    assert len(kind.unpack(sifted.payload, sifted.count)[0]) == (
        sifted.count if kind.name != "array" else 1
    )
    assert sieve.away == KeptAway(
        decoding=len(at), failures={"ZeroDivisionError": Failure(len(at))}
    )


def test_what_counts_events_goes_on_from_the_frame_before() -> None:
    """Trying the events one by one takes no turn twice."""
    sieve = make_sieve(Json(), Select(where="n > `-1`", sample=2, rate="20/s"), Redactor("a"))
    lines = [*PLAIN, DEEP, *PLAIN]
    for frame in range(3):
        sifted = sieve.sift(b"".join(lines), len(lines), 0)
        assert sifted.count == (2 if not frame else 0)  # a rate's first tenth
    assert sieve.away.where == 3  # DEEP has no n
    assert sieve.away.sample + sieve.away.rate + 2 == 30


@pytest.mark.parametrize("kind", [Lines(), Json()], ids=lambda kind: kind.name)
def test_a_frame_that_an_exception_interrupts_is_not_counted(kind, every) -> None:
    """Thrown at any bytecode of the sieve: the frame can be sifted again as if it were new."""

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    lines = [*PLAIN, b"no JSON\n", *PLAIN]
    sieve = make_sieve(
        kind, Select(grep='["n]', where="n > `1`", sample=2, rate="100/s"), Redactor("a")
    )
    late = 0
    with closing(Thrower(ctrl_c, KeyboardInterrupt)) as throw:
        for step in itertools.count(0, every):
            before = sieve.away.counts(), sieve.select.turns()
            if not throw.at(step, lambda: sieve.sift(b"".join(lines), len(lines), 0)):
                break
            late += (sieve.away.counts(), sieve.select.turns()) != before
    assert step > 500
    assert late < 5  # between the last count and its return lie a few bytecodes


def test_events_that_need_no_decoding_pass_though_another_one_raises() -> None:
    """They are handed out as they came, not as an empty list of decoded ones."""

    ours: dict[str, Any] = {"__name__": "tapring.of_this_test", "Sifted": Sifted}
    exec(
        "def sift(self, payload, count, time_ns):\n"
        "    return Sifted(payload, count // (b'two' not in payload))",
        ours,
    )
    fails_on_two = type("FailsOnTwo", (BlobSieve,), {"_sift": ours["sift"]})
    payload, count, _ = Blobs().pack([b"one", b"two", b"three"])
    sifted = fails_on_two(Blobs(), Select()).sift(bytes(payload), count, 0)
    assert (sifted.count, sifted.places, sifted.events) == (2, [0, 2], None)
    assert Blobs().unpack(sifted.payload, 2)[0] == [b"one", b"three"]
