"""Selecting and redacting whole frames: every event is kept or counted, and no value gets past."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring import Redactor, Select
from tapring.events.kinds import Array, Blobs, Json, Kind, Lines
from tapring.events.paths import Path
from tapring.events.sieve import Sieves, make_sieve

POINT = np.dtype([("t", "i8"), ("x", "f8"), ("name", "S4")])
TOKEN = re.compile(r"tapring:redacted:[0-9a-f]{16}")
USERS = ("root", "www", "bin")


def event(n: int) -> dict:
    return {"n": n, "user": USERS[n % 3], "ok": n % 2 == 0}


KINDS: dict[str, Kind] = {"lines": Lines(), "json": Json(), "bytes": Blobs(), "array": Array(POINT)}
selections = st.fixed_dictionaries(
    {},
    optional={
        "grep": st.sampled_from(["o", "w+", "^.", "x"]),
        "sample": st.integers(1, 4),
        "rate": st.sampled_from(["2/s", "100/s"]),
    },
)


@given(st.sampled_from(sorted(KINDS)), selections, st.lists(st.integers(1, 9), max_size=5))
def test_what_is_kept_and_what_is_kept_away_make_what_came(kind, selection, sizes) -> None:
    stage = KINDS[kind]
    sieve = make_sieve(stage, Select(**selection))
    if sieve is None:
        return
    kept = 0
    for size in sizes:
        batch = [event(n) for n in range(size)]
        if kind in ("lines", "bytes"):
            batch = [e["user"].encode() for e in batch]
        elif kind == "array":
            batch = np.array([(e["n"], 0.5, e["user"]) for e in batch], POINT)
        payload, count, _ = stage.pack(batch)
        sifted = sieve.sift(bytes(payload), count, 0)
        events = stage.unpack(sifted.payload, sifted.count)[0]
        assert (sum(map(len, events)) if kind == "array" else len(events)) == sifted.count
        kept += sifted.count
    assert kept + sieve.away.filtered == sum(sizes)


redactable = st.recursive(
    st.text(max_size=3) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab0"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(redactable, max_size=4), st.sets(st.sampled_from(["a", "a.b", "*.a", "b.*", "0"])))
def test_what_a_redacted_path_leads_to_is_a_token_in_every_event(events, paths) -> None:
    payload, count, _ = Json().pack(events)
    sieve = make_sieve(Json(), None, Redactor(paths or "a"))
    sifted = sieve.sift(payload, count, 0)
    assert sifted.count == count
    for event in Json().unpack(sifted.payload, count)[0]:
        for path in paths:
            assert all(TOKEN.fullmatch(str(value)) for value in Path(path).values(event))


def test_nothing_asked_for_costs_nothing() -> None:
    assert all(make_sieve(kind) is None for kind in KINDS.values())
    assert make_sieve(Json(), Select(), None, None) is None


people = st.lists(
    st.fixed_dictionaries({"n": st.integers(0, 9), "user": st.sampled_from(USERS)}), max_size=9
)


@given(people, st.sampled_from(["user=='root'", "n>`3`", "user!='root' && n<`5`"]), st.booleans())
def test_behind_a_guard_no_filter_sees_what_it_hides(events, where, redacts) -> None:
    """What passes is what would pass if the events had been redacted when they were offered."""
    guard = Redactor("user")
    redact = Redactor("n") if redacts else None
    sieve = Sieves(Select(where=where), redact, guard=guard).of(Json())
    expected = Sieves(Select(where=where), redact).of(Json())
    hidden = [each | {"user": guard.token(each["user"])} for each in events]
    left, wanted = (
        each.sift(bytes(Json().pack(batch)[0]), len(batch), 0)
        for each, batch in ((sieve, events), (expected, hidden))
    )
    assert (left.payload, left.count) == (wanted.payload, wanted.count)
    assert sieve.away.where == expected.away.where
    assert list(left.places or range(left.count)) == list(wanted.places or range(wanted.count))
    assert not any(name in left.payload for name in map(str.encode, USERS))


def test_a_guard_alone_redacts_and_withholds_what_it_cannot_read() -> None:
    sieves = Sieves(guard=Redactor("user"))
    assert not sieves.empty
    sieve = sieves.of(Lines())
    sifted = sieve.sift(b'user=root\n{"user":"root"}\n', 2, 0)
    assert (sifted.count, sieves.away.redaction) == (1, 1)
    assert b"root" not in sifted.payload
    assert list(sifted.places) == [1]
    with pytest.raises(ValueError, match="bytes"):
        sieves.of(Blobs())


def test_behind_a_guard_an_interrupted_frame_is_counted_by_neither(monkeypatch) -> None:
    sieves = Sieves(Select(grep="a"), guard=Redactor("user"))
    sieve = sieves.of(Lines())
    monkeypatch.setattr(sieve._behind, "sift", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        sieve.sift(b"no json\n{}\n", 2, 0)
    assert sieves.away.counts() == (0, 0, 0, 0, 0, 0)
