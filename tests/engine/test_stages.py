"""The stages of an engine: names, kinds, and their description in the registry."""

import pytest

import tapring
from tapring.engine.stages import describe, make_stages, only
from tapring.events.kinds import array, kind_from
from tapring.events.strip import without


def test_every_engine_has_raw_and_decoded() -> None:
    assert {name: kind.name for name, kind in make_stages({}).items()} == {
        "raw": "lines",
        "decoded": "json",
    }


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"Raw": "lines"}, "invalid stage name 'Raw'.*such as 'decoded'"),
        ({"a b": "json"}, "invalid stage name 'a b'"),
        ({"": "json"}, "invalid stage name ''"),
        ({7: "json"}, "invalid stage name 7"),
        ({"a" * 64: "json"}, "invalid stage name"),
        ({"a": "xml"}, "stage 'a' has an invalid kind 'xml'; use 'lines', 'json', 'bytes' or"),
        ({"a": "array"}, "stage 'a' has an invalid kind 'array'; .*tapring.array"),
        ({"a": 7}, "stage 'a' has an invalid kind 7"),
    ],
)
def test_a_wrong_stage_is_a_programming_error(stages, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_stages(stages)


def test_the_registry_describes_each_stage_in_order() -> None:
    made = make_stages({"points": array([("x", "<f4")]), "blobs": "bytes"})
    stages = describe(without(made, {"decoded": ["password"]}))
    assert [(each.name, each.kind) for each in stages] == [
        ("raw", "lines"),
        ("decoded", "json"),
        ("points", "array"),
        ("blobs", "bytes"),
    ]
    assert [each.redact for each in stages] == [(), ("password",), (), ()]
    assert kind_from(stages[2].kind, stages[2].dtype).describe() == made["points"].describe()


def test_a_default_stage_that_is_none_is_left_out() -> None:
    assert list(make_stages({"decoded": None})) == ["raw"]
    assert list(make_stages(only({"audit": "json"}))) == ["audit"]
    assert list(make_stages(only({"raw": "bytes"}))) == ["raw"]
    with pytest.raises(ValueError, match="an engine needs a stage"):
        make_stages(only({}))
    with pytest.raises(ValueError, match="stage 'audit' has an invalid kind None"):
        make_stages({"audit": None})


def test_a_consumer_is_told_which_stages_there_are(name) -> None:
    with tapring.Tap(name, stages=only({"audit": "json"})):
        assert list(tapring.engines(name)[0].stages) == ["audit"]
        with pytest.raises(tapring.StageNotFound, match="no stage 'decoded'; its stages: audit"):
            tapring.capture(name)
    with tapring.get_tap(name), pytest.raises(ValueError, match="made with another stages"):
        tapring.get_tap(name, stages={"decoded": None})
