"""What a consumer wants of lanes that start later: published, read with care, and never left."""

import os
import signal

import msgspec
import pytest

from tapring.shm.names import parse_request_name, request_name, requests_prefix
from tapring.shm.requests import (
    Request,
    StandingRequest,
    is_standing,
    request_names,
    requests_for,
)
from tapring.shm.segment import Segment, names, unlink
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tests.conftest import SHM
from tests.helpers import put_word


@pytest.fixture
def request_of(name):
    """Publishes a request for the test's engine, and withdraws it with the test."""
    made = []

    def publish(**asked) -> StandingRequest:
        standing = StandingRequest.publish(Request(**{"engines": name, "stage": "raw"} | asked))
        made.append(standing)
        return standing

    yield publish
    for standing in made:
        standing.withdraw()


def epochs(engine: str) -> list[int]:
    return [epoch for epoch, _ in requests_for(engine)]


def removable() -> list[str]:
    """What a sweep would remove."""
    return [each.name for each in sweep(dry_run=True)]


def test_a_request_is_read_as_it_was_published(request_of, name) -> None:
    standing = request_of(buffer_bytes=4096, duration_ns=7, sample=3)
    assert requests_for(name) == [(standing.epoch, Request(name, "raw", 4096, 7, 3))]
    assert is_standing(standing.epoch)


def test_it_ends_as_it_is_withdrawn(request_of, name) -> None:
    standing = request_of()
    standing.withdraw()
    assert epochs(name) == []
    assert not is_standing(standing.epoch)
    assert request_name(standing.epoch) not in names(requests_prefix())


def test_it_speaks_of_the_engines_that_it_names_alone(request_of, name) -> None:
    one, all_ = request_of(), request_of(engines=f"{name}*")
    assert set(epochs(name)) == {one.epoch, all_.epoch}
    assert epochs(f"{name}-2") == [all_.epoch]
    assert epochs("another") == []


def test_one_whose_consumer_died_stands_no_more_and_is_removed(spawn, name) -> None:
    source = """
import sys
from tapring.shm.requests import Request, StandingRequest
standing = StandingRequest.publish(Request(sys.argv[1], "raw"))
print(standing.epoch, flush=True)
sys.stdin.read()
"""
    consumer = spawn(source, name, stdin=-1, stdout=-1)
    epoch = int(consumer.stdout.readline())
    assert epochs(name) == [epoch]
    assert request_name(epoch) not in removable()
    consumer.send_signal(signal.SIGKILL)
    consumer.wait()
    assert epochs(name) == []
    assert not is_standing(epoch)
    assert request_name(epoch) in removable()
    sweep(name)
    assert request_name(epoch) not in request_names()


@pytest.mark.parametrize(
    "word",
    [layout.MAGIC, layout.FORMAT, layout.FEATURES, layout.EPOCH, layout.REQUEST_INFO_BYTES],
)
def test_one_that_is_half_written_or_damaged_is_left_out(request_of, name, word) -> None:
    good, bad = request_of(), request_of()
    put_word(request_name(bad.epoch), word, 0x99)
    assert epochs(name) == [good.epoch]
    put_word(request_name(bad.epoch), word, layout.MAX_WORD)
    assert epochs(name) == [good.epoch]


@pytest.mark.parametrize(
    "asked",
    [
        {"engines": ""},
        {"engines": ["x"]},
        {"engines": "*" * 129},
        {"stage": "RAW"},
        {"stage": None},
        {"buffer_bytes": -1},
        {"duration_ns": 1 << 63},
        {"sample": 0},
    ],
)
def test_one_that_says_what_no_consumer_says_is_left_out(request_of, name, asked) -> None:
    good, bad = request_of(), request_of()
    text = msgspec.json.encode({"engines": name, "stage": "raw"} | asked)
    put_word(request_name(bad.epoch), layout.REQUEST_INFO_BYTES, len(text))
    with open(SHM / request_name(bad.epoch), "r+b") as file:
        os.pwrite(file.fileno(), text, layout.PAGE)
    assert good.epoch in epochs(name)
    assert bad.epoch not in epochs(name)


def test_names_that_are_no_requests_are_left_alone(request_of, name, tmp_path) -> None:
    standing = request_of()
    link, text, short = request_name(1), f"{requests_prefix()}notes", request_name(3)
    made = [SHM / each for each in (link, text, short)]
    try:
        made[0].symlink_to(tmp_path)
        made[1].write_bytes(b"mine")
        made[2].write_bytes(b"")
        assert epochs(name) == [standing.epoch]
        assert [each for each in removable() if SHM / each in made] == [short]
        assert not is_standing(1)
    finally:
        for path in made:
            path.unlink()


def test_a_name_and_its_epoch_are_one(request_of) -> None:
    for epoch in (1, 0xFEDCBA9876543210, layout.MAX_WORD):
        assert parse_request_name(request_name(epoch)) == epoch
    for other in ("tapring.~", "tapring.~12", "tapring.shop.0a1b2c3d", request_name(1) + ".x"):
        assert parse_request_name(other) is None


def test_one_that_is_swept_while_it_is_made_is_made_again(name, monkeypatch) -> None:
    create, swept = Segment.create, []

    def create_and_sweep(called: str, size: int, **options) -> Segment:
        made = create(called, size, **options)
        if not swept:
            swept.append(called)
            unlink(called)
        return made

    monkeypatch.setattr(Segment, "create", create_and_sweep)
    standing = StandingRequest.publish(Request(name, "raw"))
    assert epochs(name) == [standing.epoch]
    assert swept != [request_name(standing.epoch)]
    standing.withdraw()


def test_one_that_is_being_made_is_not_swept_from_under_its_consumer(name, monkeypatch) -> None:
    """Sweeps come before its lock is taken, and between that and the look whether it is there."""
    lock, swept = Segment.try_lock, []

    def swept_with(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Segment, "try_lock", lock)
        sweep(name)
        patch.setattr(Segment, "try_lock", lock_among_sweeps)

    def lock_among_sweeps(segment: Segment, offset: int) -> bool:
        if not swept:
            swept.append(segment.name)
            swept_with(patch)
            assert segment.name not in request_names()
        locked = lock(segment, offset)
        swept_with(patch)
        return locked

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "try_lock", lock_among_sweeps)
        standing = StandingRequest.publish(Request(name, "raw"))
    assert epochs(name) == [standing.epoch]
    standing.withdraw()


def test_a_lane_looks_at_a_limited_number_of_them(request_of, name, monkeypatch) -> None:
    for _ in range(3):
        request_of()
    monkeypatch.setattr(layout, "MAX_REQUESTS", 2)
    assert len(epochs(name)) <= 2
