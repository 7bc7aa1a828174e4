"""What is said of lanes while a capture runs: each thing once, and of a crowd the first few."""

from tapring.cli.lane_news import LaneNews
from tapring.consumer.lanes import LaneEnded, LaneJoined
from tapring.consumer.stats import Stats
from tapring.ended_by import EndedBy
from tapring.shm.refusals import LaneRefused


def joined(lane: str, *, initial: bool = False, from_start: bool = True) -> LaneJoined:
    return LaneJoined("shop", lane, 7, 1, 0, initial, from_start)


def test_each_thing_is_said_once() -> None:
    news = LaneNews()
    first = Stats(lanes_joined=(joined("a", initial=True),))
    assert list(news.lines(first)) == []
    refused = LaneRefused("shop", "c", "full", "it has 8 sessions")
    ended = LaneEnded("shop", "a", 7, EndedBy.ENGINE_DEATH, 0)
    then = Stats(
        lanes_joined=(*first.lanes_joined, joined("b"), joined("d", from_start=False)),
        lanes_refused=(refused,),
        lanes_ended=(ended,),
    )
    assert list(news.lines(then)) == [
        "lane b of shop (pid 7) joined",
        "lane d of shop (pid 7) joined; its first batches may be missing",
        "lane c is not read: it has 8 sessions",
        "lane a of shop (pid 7) died (killed or crashed)",
    ]
    assert list(news.lines(then)) == []


def test_a_lane_that_cannot_be_read_at_first_is_said_though_the_capture_began_so() -> None:
    refused = LaneRefused("shop", "c", "full", "it has 8 sessions")
    assert list(LaneNews().lines(Stats(lanes_refused=(refused,))))


def test_a_lane_is_spoken_of_once_for_all_its_stages() -> None:
    news = LaneNews()
    of_two = [LaneJoined("shop", "b", 7, n, 0, False, True, stage=f"{n}") for n in range(2)]
    ends = [LaneEnded("shop", "b", 7, EndedBy.ENGINE_EXIT, 0, f"{n}") for n in range(2)]
    said = list(news.lines(Stats(lanes_joined=tuple(of_two[:1]))))
    said += news.lines(Stats(lanes_joined=tuple(of_two), lanes_ended=tuple(ends)))
    assert said == ["lane b of shop (pid 7) joined", "lane b of shop (pid 7) exited"]
    refused = LaneRefused("shop", "b", "full", "it is full", "decoded")
    assert list(news.lines(Stats(lanes_refused=(refused,)))) == [
        "stage decoded of lane b is not read: it is full"
    ]


def test_of_a_crowd_the_first_few_are_named() -> None:
    lanes = tuple(joined(f"{n:08x}") for n in range(64))
    lines = list(LaneNews().lines(Stats(lanes_joined=lanes)))
    assert lines[4:] == ["lane 00000004 of shop (pid 7) joined", "59 more lanes: joined"]
