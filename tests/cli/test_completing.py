"""What the shell completes, by what runs on this machine."""

import os
import subprocess
import sys

import tapring
from tapring.cli import main
from tapring.cli.completing import lines
from tapring.shm.names import recording_name, segment_name
from tapring.shm.segment import Segment
from tapring.wire import layout
from tests.conftest import SHM
from tests.helpers import put_word


def offered(typed: str) -> dict[str, str]:
    """Each value that may follow, and what it means."""
    return {
        value: meaning for _, value, meaning in (each.split("\t") for each in lines(main, typed))
    }


def test_engines_are_completed_with_their_stages(name) -> None:
    with tapring.Tap(name, stages={"audit": "json", "raw": None}), tapring.Tap(f"{name}-b"):
        found = offered(f"tapring attach {name}")
    assert found[name] == "decoded, audit in 1 lane"
    assert found[f"{name}-b"] == "raw, decoded in 1 lane"


def test_an_engine_typed_in_full_shows_its_lanes_and_the_sessions_that_nobody_reads(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw") as free, tap.register("decoded") as taken:
        lane = f"{name}.{tap.lane}"
        with tapring.attach_session(name, taken.id), tapring.capture(name):
            found = offered(f"tapring attach {name}")
            below = offered(f"tapring attach {name}.")
            to_open = offered(f"tapring open {name}")
    assert list(found) == [name, lane, f"{name}:{free.id}"]
    assert found[lane] == f"pid {os.getpid()}"
    assert found[f"{name}:{free.id}"] == "raw, registered"
    assert list(below) == [lane, f"{lane}:{free.id}"]
    assert list(to_open) == [name, lane]


def test_close_is_offered_what_was_opened_to_be_kept(name) -> None:
    with tapring.Tap(name) as tap, tap.register("raw"):
        with tapring.capture(name, stage="raw", keep=True) as session:
            (address,) = session.addresses
        assert offered(f"tapring close {name}") == {address: "raw, kept"}
        tapring.close_session(address)


def test_stages_are_those_of_the_engine_or_lane_that_is_typed(name) -> None:
    with tapring.Tap(name, stages={"audit": "json"}) as one, tapring.Tap(name) as other:
        assert list(offered(f"tapring attach {name} --stage ")) == ["raw", "decoded", "audit"]
        lane = f"{name}.{other.lane}"
        assert list(offered(f"tapring attach {lane} --stage ")) == ["raw", "decoded"]
        session = f"{name}.{one.lane}:7"
        assert "audit" in offered(f"tapring attach {session} --stage=")
        assert "audit" in offered("tapring attach --stage au")


def test_behind_a_comma_stages_are_offered_that_are_not_named_yet(name) -> None:
    with tapring.Tap(name, stages={"audit": "json"}):
        found = offered(f"tapring attach {name} --stage raw,")
    assert list(found) == ["raw,decoded", "raw,audit"]


def test_the_stages_of_files_are_not_those_of_engines(name) -> None:
    with tapring.Tap(name, stages={"audit": "json"}):
        assert offered("tapring cat a.ndjson --stage ") == {}


def test_stats_is_offered_an_engine_with_its_stages_or_files(name) -> None:
    with tapring.Tap(name, stages={"audit": "json"}), tapring.Tap(f"{name}-b"):
        assert name in offered("tapring stats ")
        stages = offered(f"tapring stats {name}-b --stage ")
    assert list(stages) == ["raw", "decoded"]
    for typed in ("tapring stats --from ", "tapring stats --from a.ndjson "):
        assert [each.split("\t")[0] for each in lines(main, typed)] == ["file"]


def test_names_of_engines_formats_and_files_are_offered_where_they_belong(name) -> None:
    with tapring.Tap(name):
        assert name in offered("tapring ls ")
        assert name in offered("tapring gc ")
        assert name in offered("tapring top ")
    assert "parquet" in offered("tapring attach x --format ")
    assert [each.split("\t")[0] for each in lines(main, "tapring attach x -o ")] == ["file"]
    assert [each.split("\t")[0] for each in lines(main, "tapring replay a b")] == ["file"]
    assert {"budget", "lost", "rate"} <= {*offered("tapring top --sort ")}
    assert "--once" in offered("tapring top --")
    assert {"schema", "top"} <= {*offered("tapring ")}
    assert "--line" not in offered("tapring completion bash --")


def test_an_unfinished_word_in_quotes_goes_on(name) -> None:
    with tapring.Tap(name):
        assert name in offered(f"tapring attach '{name[:-1]}")
        assert offered("tapring attach x --where 'a == ") == {}


def test_lanes_that_are_dead_or_damaged_are_left_out_and_left_alone(name, dead_lane) -> None:
    other = f"{name}-b"
    with (
        tapring.Tap(other) as damaged,
        Segment.attach(segment_name(other, damaged.lane)) as registry,
    ):
        os.pwrite(registry.fd, (99).to_bytes(8, "little"), layout.FORMAT * layout.WORD)
        before = sorted(path.name for path in SHM.iterdir())
        assert offered(f"tapring attach {name}") == {}
        assert sorted(path.name for path in SHM.iterdir()) == before
        assert any(dead_lane in each for each in before)


def test_a_lane_that_is_still_being_made_is_not_waited_for(name, monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    with Segment.create(segment_name(name, "0a0b0c0d"), layout.PAGE) as made:
        made.try_lock(layout.LOCK_ENGINE)
        assert offered(f"tapring attach {name}") == {}
        os.unlink(SHM / segment_name(name, "0a0b0c0d"))
    assert sum(waited) < 0.1


def test_completing_loads_nothing_heavy() -> None:
    code = """
import sys
from tapring.cli import main
from tapring.cli.completing import lines
for typed in ("attach ", "attach x --stage ", "attach x --", "cat ", "ls ", "top --sort "):
    lines(main, f"tapring {typed}")
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    heavy = {b"rich", b"numpy", b"pyarrow", b"zstandard", b"asyncio", b"textual"}
    assert not heavy & set(loaded.split())


def test_dump_is_offered_what_living_and_dead_lanes_recorded(died, name) -> None:
    options = {"recorder": "decoded", "recorder_bytes": 1 << 20}
    with tapring.Tap(name, **options) as tap, tapring.Tap(f"{name}-b", **options):
        found = offered(f"tapring dump {name}")
        below = offered(f"tapring dump {name}.{died.lane}")
        with tapring.Tap(f"{name}-c"):
            assert f"{name}-c" not in offered(f"tapring dump {name}")
        living = f"{name}.{tap.lane}"
    assert found[name] == "decoded, raw in 2 lanes, 1 of them dead"
    assert found[f"{name}-b"] == "decoded in 1 lane"
    assert found[living] == f"pid {os.getpid()}, runs: decoded"
    assert below == {f"{name}.{died.lane}": f"pid {died.pid}, dead: decoded, raw"}


def test_dump_is_offered_the_stages_that_were_recorded(died, name) -> None:
    assert sorted(offered(f"tapring dump {name} --stage ")) == ["decoded", "raw"]
    assert list(offered(f"tapring dump {name}.{died.lane} --stage raw,")) == ["raw,decoded"]
    assert offered(f"tapring dump {name} --last ") == {}


def test_engines_that_have_left_recordings_are_offered_where_these_are_meant(died, name) -> None:
    for typed in ("tapring ls --dead ", "tapring gc --evidence "):
        assert offered(typed + name) == {name: "1 dead lane"}
    with tapring.Tap(f"{name}-b", recorder="decoded", recorder_bytes=1 << 20):
        assert list(offered(f"tapring ls --dead {name}")) == [name]


def test_a_damaged_recording_is_left_out_and_left_alone(died, name) -> None:
    put_word(recording_name(name, died.lane, "raw"), layout.FORMAT, 99)
    before = sorted(path.name for path in SHM.iterdir())
    assert list(offered(f"tapring dump {name} --stage ")) == ["decoded"]
    assert sorted(path.name for path in SHM.iterdir()) == before
