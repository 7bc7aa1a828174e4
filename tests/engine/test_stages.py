"""The stages of an engine: names, kinds, and their description in the registry."""

import pytest

from tapring.engine.stages import describe, make_stages
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
