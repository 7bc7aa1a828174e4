"""The summary at the end of a capture: what was lost, what was skipped and why, and what to try."""

import errno
import json
from types import SimpleNamespace

import pytest

from tapring.cli import summary
from tapring.consumer.lanes import LaneEnded, LaneJoined
from tapring.consumer.stats import Stats
from tapring.delivery.report import Report
from tapring.ended_by import EndedBy
from tapring.events.redaction import Redactor
from tapring.events.selection import Select
from tapring.events.sieve import Failure, KeptAway
from tapring.files.rotated_out import RotatedOut
from tapring.frame import UNKNOWN_NS
from tapring.shm.refusals import LaneRefused


def joined(lane: str, *, initial: bool = True, from_start: bool = False) -> LaneJoined:
    return LaneJoined("shop", lane, 7, 1, 10**9, initial, from_start)


@pytest.fixture
def said(capsys):
    """The lines of the summary of a capture with these counts, without their prefix."""

    def of(
        style: str = "text",
        select: Select | None = None,
        redact: Redactor | None = None,
        away: KeptAway | None = None,
        of_sink: dict | None = None,
        lanes: tuple[str, ...] = ("0a0b0c0d",),
        unknown_clocks: tuple[str, ...] = (),
        **stats,
    ) -> list[str]:
        stats.setdefault("lanes_joined", tuple(map(joined, lanes)))
        session = SimpleNamespace(
            stats=Stats(**stats),
            away=away or KeptAway(),
            engine="shop",
            lanes=lanes,
            unknown_clocks=unknown_clocks,
            stage="decoded",
            budget=0.02,
            sample=4,
            ended_by="limit",
            seen_keys=("user.email", "msg"),
        )
        sink = SimpleNamespace(
            **{
                "events": 2000,
                "bytes": 9,
                "files": [],
                "unfinished": None,
                "meta_error": None,
                "changed": {},
                "rotated_out": RotatedOut(None),
            }
            | (of_sink or {})
        )
        summary.show(Report(session, select or Select(), redact, sink), style)
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.splitlines()
        assert style != "text" or all(line.startswith("tapring: ") for line in lines)
        return [line.removeprefix("tapring: ") for line in lines]

    return of


def test_the_first_line_says_how_much_of_what_and_why_it_ended(said) -> None:
    (line,) = said(offered=2000, captured=2000, delivered=2000)
    assert line == "2,000 events of shop/decoded in 0 s, ended by limit; nothing was lost"


def test_a_lane_is_named_once_whatever_the_number_of_its_stages(said) -> None:
    of_two_stages = [
        LaneJoined("shop", lane, 7, n, 10**9, lane == "a", lane != "c", stage=stage)
        for n, stage in enumerate(["raw", "decoded"])
        for lane in "abc"
    ]
    ended = [
        LaneEnded("shop", "b", 7, EndedBy.ENGINE_EXIT, 10**9, stage) for stage in ["raw", "decoded"]
    ]
    first, *lines = said(lanes_joined=tuple(of_two_stages), lanes_ended=tuple(ended))
    assert first.endswith("; 1 lane joined late")
    assert lines == [
        "3 lanes were read, 2 of which joined during the capture",
        (
            "1 lane started before this capture saw it, and may have lost its first batches: "
            "c (pid 7, 1970-01-01T00:00:01.000+00:00)"
        ),
        "1 lane exited: b (pid 7, 1970-01-01T00:00:01.000+00:00)",
    ]


def test_a_lane_of_which_one_stage_is_not_read_is_not_wholly_read(said) -> None:
    refused = LaneRefused("shop", "0a0b0c0d", "full", "it has 1 session", "decoded")
    first, line = said(lanes_refused=(refused,))
    assert first.endswith("nothing was lost in the lane that was read; 1 lane was not wholly read")
    assert line == "stage decoded of lane 0a0b0c0d was not read: it has 1 session"


def test_losses_are_said_with_their_share_and_reasons_and_with_what_to_try(said) -> None:
    first, advice = said(offered=200, captured=150, dropped=40, oversize=9, errors=1, gaps=3)
    assert first.endswith(
        "50 of 200 (25.0 %) were lost in 3 places: "
        "40 dropped, 9 larger than the ring, 1 not serializable"
    )
    assert "Try --buffer 32MiB or --sample-batches" in advice


def test_what_is_still_in_the_ring_is_not_lost(said) -> None:
    (line,) = said(offered=9, captured=9, unread=9)
    assert line.endswith("nothing was lost; 9 more were left unread in the ring")


def test_each_filter_says_how_many_events_it_took_out(said) -> None:
    away = KeptAway(grep=1, where=1256, sample=3, rate=4)
    assert said(away=away, filtered=1264)[1:] == [
        "1 event did not match --grep",
        "1,256 events did not match --where",
        "3 events were left out by --sample",
        "4 events exceeded --rate",
    ]


def test_a_filter_that_failed_on_events_says_so(said) -> None:
    select = Select(where="length(msg) > `3`")
    assert not select.where.holds({"other": 1})
    (line,) = said(select=select)[1:]
    assert line.startswith("--where failed on 1 event, which count as not matching")


def test_events_that_the_engine_skipped_are_said_with_the_reason(said) -> None:
    sampled, shed = said(sampled_out=30, shed=64, served=0.25)[1:]
    assert (
        sampled == "30 events were skipped by the engine: --sample-batches asked for one batch in 4"
    )
    assert shed.startswith(
        "64 events were skipped by the engine to stay within its budget (2 % of its time); "
        "at the end it offered 25% of the batches"
    )


def test_events_that_cannot_be_decoded_are_withheld_or_left_out(said) -> None:
    withheld, left_out = said(redaction_dropped=2, decode_errors=5)[1:]
    assert withheld == (
        "2 events were withheld: they could not be redacted, as --redact finds no fields in what "
        "is not valid JSON. --redact-pass-text lets such lines through"
    )
    assert left_out == ("5 events were left out: not valid JSON, or impossible to look into")


def test_a_path_that_no_event_had_is_named_with_the_likely_one(said) -> None:
    lines = said(redact=Redactor("user.emial", regex="zzz"), select=Select(fields="msg,nope"))[1:]
    assert lines[0] == "--redact user.emial: no event had this field; did you mean 'user.email'?"
    assert "--fields nope: no event had this field" in lines
    assert lines[-1] == "--redact-regex matched nothing, so it hid nothing"


@pytest.mark.parametrize("lanes", [("0a0b0c0d",), ("0a0b0c0d", "1a1b1c1d")])
def test_a_lane_whose_clock_cannot_be_compared_is_named(said, lanes) -> None:
    order = ", and the order of events between lanes" if len(lanes) > 1 else ""
    (line,) = said(lanes=lanes, unknown_clocks=("0a0b0c0d",))[1:]
    assert line.startswith(f"the times of 0a0b0c0d{order} may be wrong")


def full(lane: str) -> LaneRefused:
    return LaneRefused("shop", lane, "full", f"the engine shop.{lane} has 8 sessions")


def test_nothing_was_lost_is_said_only_of_the_lanes_that_were_read(said) -> None:
    first, line = said(offered=9, captured=9, delivered=9, lanes_refused=(full("1a1b1c1d"),))
    assert first.endswith("; nothing was lost in the lane that was read; 1 lane was not read")
    assert line == "lane 1a1b1c1d was not read: the engine shop.1a1b1c1d has 8 sessions"
    first, *_ = said(
        lanes=("0a0b0c0d", "1a1b1c1d"), dropped=1, offered=2, lanes_refused=(full("2" * 8),)
    )
    assert "50.0 %) was lost in the 2 lanes that were read: 1 dropped; 1 lane was not" in first


def test_lanes_that_were_not_read_have_a_line_for_each_reason(said) -> None:
    old = LaneRefused("shop", "2a2b2c2d", "version", "shop.2a2b2c2d uses version 3\x1b[2J")
    first, *lines = said(lanes_refused=(old, full("3a3b3c3d"), full("4a4b4c4d")))
    assert first.endswith("; 3 lanes were not read")
    assert lines == [
        "2 lanes were not read: the engine shop.3a3b3c3d has 8 sessions; likewise 4a4b4c4d",
        "lane 2a2b2c2d was not read: shop.2a2b2c2d uses version 3\\x1b[2J",
    ]


def ended(n: int, reason: str) -> LaneEnded:
    return LaneEnded("shop", f"{n:08x}", n, EndedBy(reason), n * 10**9 + 5 * 10**6)


def test_lanes_that_ended_among_others_are_named_with_their_process_and_the_time(said) -> None:
    lanes = (ended(1, "engine-exit"), ended(2, "engine-death"), ended(3, "duration"))
    assert said(lanes=("a", "b", "c", "d"), lanes_ended=lanes)[1:] == [
        "1 lane died (killed or crashed): 00000002 (pid 2, 1970-01-01T00:00:02.005+00:00)",
        "1 lane exited: 00000001 (pid 1, 1970-01-01T00:00:01.005+00:00)",
    ]
    assert said(lanes=("a",), lanes_ended=lanes[:1])[1:] == []  # the first line has said it


def test_of_many_lanes_that_ended_alike_the_first_are_named(said) -> None:
    lanes = tuple(ended(n, "evicted") for n in range(8))
    (line,) = said(lanes=("a", "b"), lanes_ended=lanes)[1:]
    assert line.startswith("8 lanes gave the session up, because its ring could not be used any ")
    assert line.endswith("00000004 (pid 4, 1970-01-01T00:00:04.005+00:00), and 3 more")


def test_files_are_named_complete_and_incomplete(said) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    files = {"files": ["a.ndjson", "b.ndjson"], "unfinished": "c.part", "meta_error": error}
    assert said(of_sink=files, split=1)[1:] == [
        "1 line more than events: some events contain newlines",
        "written: a.ndjson, b.ndjson",
        "c.part is incomplete, but every event in it is intact",
        "the .meta.json could not be written: No space left on device",
    ]


def test_as_json_it_is_the_facts_on_one_line(said) -> None:
    (line,) = said("json", offered=3)
    assert json.loads(line)["tapring_summary"]["offered"] == 3


def test_it_can_be_silent(said) -> None:
    assert said("none", offered=3, dropped=3) == []


def test_what_raised_is_named_with_its_first_batch(said) -> None:
    away = KeptAway(failures={"RecursionError": Failure(3, "0a0b0c0d", 1_700_000_000_123_456_789)})
    (line,) = said(away=away)[1:]
    assert line == (
        "3 events raised RecursionError, the first of them in the batch of "
        "2023-11-14T22:13:20.123+00:00 of lane 0a0b0c0d"
    )


def test_what_raised_in_a_file_without_times_is_only_counted(said) -> None:
    away = KeptAway(failures={"RecursionError": Failure(1, "", UNKNOWN_NS)})
    assert said(away=away)[1:] == ["1 event raised RecursionError"]


def test_lanes_that_joined_during_the_capture_are_counted(said) -> None:
    lanes = (joined("a"), joined("b", initial=False, from_start=True))
    first, line = said(lanes_joined=lanes)
    assert first.endswith("; nothing was lost")
    assert line == "2 lanes were read, 1 of which joined during the capture"
    assert said(lanes_joined=(joined("a"), joined("b")))[1:] == []


def test_a_lane_that_began_before_it_was_seen_is_named_and_nothing_is_promised_of_it(said) -> None:
    first, _, line = said(lanes_joined=(joined("a"), joined("b", initial=False)))
    assert first.endswith("nothing was lost since the lanes joined; 1 lane joined late")
    assert line == (
        "1 lane started before this capture saw it, and may have lost its first batches: "
        "b (pid 7, 1970-01-01T00:00:01.000+00:00)"
    )


def test_events_that_came_late_are_counted(said) -> None:
    (line,) = said(late=3)[1:]
    assert line == "3 events came after later ones of other lanes. Try a longer --merge-lag"


def test_rings_that_shared_memory_had_too_little_room_for_are_told(said) -> None:
    small = LaneJoined("shop", "a", 7, 1, 0, True, False, 1 << 20, 4 << 20)
    usual = LaneJoined("shop", "b", 7, 1, 0, True, False, 4 << 20, 4 << 20)
    (line,) = said(lanes_joined=(small, usual))[1:]
    assert line.startswith("the rings of 1 lane have 1 MiB instead of 4 MiB, because /dev/shm has")
    assert said(lanes_joined=(usual, usual))[1:] == []


def test_of_many_files_the_first_and_the_last_are_named(said) -> None:
    files = [f"n.{number:06}.ndjson" for number in range(1, 1201)]
    assert said(of_sink={"files": files})[-1] == (
        "written: n.000001.ndjson to n.001200.ndjson (1,200 files)"
    )
