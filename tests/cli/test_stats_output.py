"""What is said of counts that a reader could take for more than they are."""

from tapring.cli.stats_output import remarks
from tapring.delivery.counting import RecordedCounting
from tapring.delivery.statistics import Account, statistics
from tapring.events.kinds import Json
from tapring.events.tally import Question
from tests.files.frames import frame


def said(account: Account, *batches, **question) -> list[str]:
    counting = RecordedCounting(Question(**question), 10)
    for at, batch in batches:
        counting.write(frame(Json(), batch, at))
    facts = statistics(counting.total, 10, account=account)
    counting.question.unmatched()
    return list(remarks(facts, counting))


def test_a_complete_and_exact_count_needs_no_remark() -> None:
    assert said(Account(2, 2, 0, 0, 0, 0, 0, 1, 0, 1.0), (1, [{"a": 1}, {"a": 2}]), by="a") == []


def test_losses_samples_and_typos_are_said() -> None:
    found = said(
        Account(12_000, 11_700, 0, 300, 90, 0, 0, 1, 0, 10.0),
        (1, [{"level": 1}]),
        by="levle",
        numbers="x",
    )
    assert found == [
        "300 of 12,000 offered events were lost: counts and shares are of those that were seen",
        "the events are a sample: counts times 10 are an estimate of all events",
        "--by levle: no event had this field; did you mean 'level'?",
        "--histogram x: no event had this field",
    ]


def test_losses_are_no_share_of_a_number_that_no_file_tells() -> None:
    remark = "lost: counts and shares are of those that were seen"
    account = Account(None, 14, 0, 12, 0, 0, 0, 1, 0, 1.0)
    assert said(account, (1, [{}])) == [f"12 events were {remark}"]
    account = Account(None, 14, 0, 1, 0, 0, 0, 1, 0, 1.0)
    assert said(account, (1, [{}])) == [f"1 event was {remark}"]


def test_late_events_and_inexact_counts_are_said() -> None:
    many = [{"a": n} for n in range(30_000)]
    found = said(
        Account(1, 1, 0, 0, 0, 0, 0, 1, 0, 1.0), (1, many), (25, []), (35, []), (2, [{}]), by="a"
    )
    assert "a count may be too low by up to 1" in found[0]
    assert found[1] == "1 event came late, and count in the interval after theirs"
