"""A lane's registry: made once, read by others, and the engine's own words in it."""

import msgspec
import pytest

import tapring
from tapring.errors import EngineNotFound, RingCorrupt
from tapring.shm import segment
from tapring.shm.info import LaneInfo, StageInfo
from tapring.shm.registry import Registry
from tapring.shm.segment import Segment, names, unlink
from tapring.shm.sweep import sweep
from tapring.wire import layout
from tapring.wire.layout import Owner, Verdict
from tests.helpers import interrupt_once

LANE = "0a1b2c3d"


@pytest.fixture
def info(describe_lane) -> LaneInfo:
    return describe_lane(StageInfo("raw", "lines"))


@pytest.fixture
def engine(info):
    with Registry.create(info) as made:
        yield made
        for left in names(f"tapring.{info.engine}."):
            unlink(left)


@pytest.fixture
def reader(engine):
    with Registry.attach(engine.info.engine, LANE) as opened:
        yield opened


def test_a_lane_is_described_as_it_was_made(engine, reader) -> None:
    assert reader.info == engine.info
    assert reader.address == f"{engine.info.engine}.{LANE}"
    assert reader.created_ns == engine.created_ns
    assert reader.engine_is_alive()


def test_a_lane_that_is_not_there_is_named(name) -> None:
    with pytest.raises(EngineNotFound, match=f"the engine {name} has no lane {LANE}"):
        Registry.attach(name, LANE)


@pytest.fixture(params=["before it has a size", "before it is locked"])
def swept(request, name, monkeypatch) -> list[str]:
    """The first lane that is made is swept meanwhile."""
    found: list[str] = []

    def sweep_it() -> None:
        if not found:
            found.extend(each.name for each in sweep(name))

    create, reserve = Segment.create, segment._reserve

    def create_and_sweep(*args, **options) -> Segment:
        made = create(*args, **options)
        sweep_it()
        return made

    def sweep_and_reserve(*args) -> None:
        sweep_it()
        reserve(*args)

    if request.param == "before it is locked":
        monkeypatch.setattr(Segment, "create", create_and_sweep)
    else:
        monkeypatch.setattr(segment, "_reserve", sweep_and_reserve)
    return found


def test_a_lane_that_was_swept_while_it_was_made_is_refused_and_leaves_nothing(info, swept) -> None:
    """Nothing tells it from what a killed engine left, before it is locked."""
    with pytest.raises(FileExistsError, match="was swept while it was made"):
        Registry.create(info)
    assert len(swept) == 1
    assert names(f"tapring.{info.engine}.") == []


def test_an_engine_makes_another_lane_in_place_of_one_that_was_swept(name, swept) -> None:
    with tapring.Tap(name) as tap:
        lane = f"tapring.{name}.{tap.lane}"
        assert names(f"tapring.{name}.") == [lane]
        assert len(swept) == 1
        assert lane not in swept


def test_a_lane_is_made_once(engine, info) -> None:
    with pytest.raises(FileExistsError):
        Registry.create(info)


@pytest.mark.parametrize(
    ("word", "value"),
    [("faults", 3), ("misuse", 4), ("idle_ns", 57), ("batch_ns", 900), ("cost_share", 0.25)],
)
def test_what_the_engine_stores_others_read(engine, reader, word, value) -> None:
    setattr(engine, word, value)
    assert getattr(reader, word) == value
    with pytest.raises(TypeError, match="read-only"):
        setattr(reader, word, 0)


def test_a_budget_may_be_none(engine, reader) -> None:
    engine.budget = 0.02
    assert reader.budget == 0.02
    engine.budget = None
    assert reader.budget is None


def test_a_verdict_is_on_one_session_of_a_row(engine, reader) -> None:
    row = engine.register(stage=0, slots=4, slot_bytes=64, duration_ns=0, owner=Owner.ENGINE)
    assert reader.verdict_on(row.index, row.id) == Verdict.NONE
    engine.answer(row, Verdict.ACCEPTED)
    assert reader.verdict_on(row.index, row.id) == Verdict.ACCEPTED
    assert reader.verdict_on(row.index, row.id + 1) == Verdict.NONE


def test_a_closed_lane_takes_no_session(engine, reader) -> None:
    assert not reader.engine_has_closed()
    engine.mark_closed()
    assert reader.engine_has_closed()
    with pytest.raises(EngineNotFound, match="has just closed"):
        reader.register(stage=0, slots=4, slot_bytes=64, duration_ns=0, owner=Owner.CONSUMER)
    assert reader.table.rows() == []
    assert names(f"{engine.segment.name}.") == []


def test_a_closed_engine_is_dead(engine, reader) -> None:
    engine.unlink()
    engine.close()
    engine.close()
    assert not reader.engine_is_alive()
    assert not reader.segment.is_linked()


def test_stages_that_take_too_much_to_describe_are_refused(info) -> None:
    stages = (StageInfo("raw", "array", "x" * layout.MAX_INFO_BYTES),)
    with pytest.raises(ValueError, match="make fewer stages"):
        Registry.create(msgspec.structs.replace(info, stages=stages))


def test_a_registry_that_is_never_finished_is_not_waited_for_long(name) -> None:
    unfinished = f"tapring.{name}.{LANE}"
    with Segment.create(unfinished, layout.PAGE):
        with pytest.raises(EngineNotFound, match="is not ready"):
            Registry.attach(name, LANE)
    unlink(unfinished)


def test_a_registry_of_another_lane_is_damaged(engine, name) -> None:
    other = f"tapring.{name}.{'f' * 8}"
    whole = engine.segment.map(0, engine.segment.size, writable=False)[:]
    with Segment.create(other, len(whole)) as copy:
        copy.map(0, len(whole), writable=True)[:] = whole
        with pytest.raises(RingCorrupt, match=f"says that it is {name}.{LANE}"):
            Registry.attach(name, "f" * 8)
    unlink(other)


def test_a_consumer_that_waited_for_a_lane_sees_its_budget_at_once(info) -> None:
    with Registry.create(info, 0.02), Registry.attach(info.engine, LANE) as opened:
        assert opened.budget == 0.02
    for left in names(f"tapring.{info.engine}."):
        unlink(left)


def test_a_registry_whose_closing_was_interrupted_counts_as_closed(reader, monkeypatch) -> None:
    """Its views are gone, so nothing may take it for open."""
    interrupt_once(monkeypatch, reader.table, "close")
    with pytest.raises(KeyboardInterrupt):
        reader.close()
    assert not reader.segment.is_open
    reader.close()
    assert not reader.segment.is_mapped
