"""Records: one a line, whatever an event holds, and no event is taken for what frames it."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tapring.events.kinds import Blobs, Json, Kind, Lines
from tapring.frame import Frame, Origin
from tapring.gateway.encoding import encoding_of

ORIGIN = Origin("shop", "0a0a0a0a", 1, "decoded")
KINDS: dict[str, Kind] = {"json": Json(), "lines": Lines(), "bytes": Blobs()}
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
raw = st.sampled_from(
    [b"a\rb", b"\r", b"data: x", b"event: summary", b"\xff\x00", b'{"a":1}', b"", b"id: 1"]
)


def frame_of(kind: str, events: list, missed: int = 0) -> Frame:
    payload, count, _ = KINDS[kind].pack(events)
    return Frame(bytes(payload), count, 1_000, missed, ORIGIN, KINDS[kind], 5)


def read_events(text: bytes) -> list[tuple[str, list[str], str]]:
    """As a browser reads them: lines may end with CR, LF or both."""
    found = []
    name, data, identity = "message", [], ""
    for line in text.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field, _, value = line.partition(": ")
        if not line:
            if data:
                found.append((name, data, identity))
            name, data, identity = "message", [], ""
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            identity = value
        else:
            raise AssertionError(line)
    return found


@given(st.lists(values, min_size=1, max_size=5), st.integers(0, 3), st.booleans())
def test_json_events_come_back_and_a_gap_stands_before_them(events, missed, envelope) -> None:
    frame = frame_of("json", events, missed)
    lines = encoding_of("ndjson", envelope=envelope).frame(frame, "").splitlines()
    records = [json.loads(line) for line in lines]
    gap = records.pop(0) if missed else None
    if envelope:
        assert [each["event"] for each in records] == events
        assert gap is None or (gap["missed"], gap["event"]) == (missed, None)
    else:
        assert records == events
        assert gap is None or gap["tapring_gap"]["missed"] == missed


@given(st.sampled_from(["lines", "bytes"]), st.lists(raw, min_size=1, max_size=6), st.booleans())
def test_no_event_ends_a_message_or_begins_another(kind, events, envelope) -> None:
    text = encoding_of("sse", envelope=envelope).frame(frame_of(kind, events), "9;x")
    ((name, data, identity),) = read_events(text)
    assert (name, identity, len(data)) == ("message", "9;x", len(events))
    assert all(json.loads(each) is not None for each in data)


@given(st.lists(values, min_size=1, max_size=5), st.booleans())
def test_server_sent_events_hold_the_records_of_ndjson(events, envelope) -> None:
    frame = frame_of("json", events)
    ((_, data, _),) = read_events(encoding_of("sse", envelope=envelope).frame(frame, "1;"))
    lines = encoding_of("ndjson", envelope=envelope).frame(frame, "").splitlines()
    assert list(map(json.loads, data)) == list(map(json.loads, lines))


def test_a_raw_value_on_several_lines_with_returns_is_one_record() -> None:
    event = msgspec.Raw(b'{"a":\r\n 1,\r "b":\n2}')
    ((name, data, _),) = read_events(
        encoding_of("sse", envelope=False).frame(frame_of("json", [event]), "1;")
    )
    assert name == "message"
    assert [json.loads(each) for each in data] == [{"a": 1, "b": 2}]


def test_a_gap_alone_an_account_and_the_end_are_events_of_their_own() -> None:
    sse = encoding_of("sse", envelope=False)
    gap = Frame(b"", 0, 1_000, 4, ORIGIN, Json())
    text = (
        sse.frame(gap, "1;")
        + sse.account({"a": 1}, "2;")
        + sse.beat()
        + sse.last("summary", {"b": 2})
    )
    found = [
        (name, json.loads(data[0]))
        for name, data, _ in read_events(text.replace(b": still here\n", b""))
    ]
    assert [name for name, _ in found] == ["gap", "account", "summary"]
    assert found[0][1]["tapring_gap"]["missed"] == 4
    ndjson = encoding_of("ndjson", envelope=False)
    assert ndjson.account({}, "") == ndjson.beat() == b""
    assert json.loads(ndjson.last("summary", {"b": 2})) == {"tapring_summary": {"b": 2}}
