"""Selecting and redacting whole frames: every event is kept or counted, and no value gets past."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tapring import Redactor, Select
from tapring.events.kinds import Array, Blobs, Json, Kind, Lines
from tapring.events.paths import Path
from tapring.events.sieve import make_sieve

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
