"""The steps that all kinds share: each counts what it leaves out."""

from tapring.events.selection import Select
from tapring.events.steps import KeptAway, Steps


def test_each_step_counts_its_own_events() -> None:
    steps = Steps(Select(where="n > `1`", sample=2, rate="10/s"))
    passing = steps.passing([{"n": n} for n in range(60)])
    assert passing == list(range(2, 60))
    sampled = steps.sampled(passing)
    assert sampled == passing[::2]
    assert list(steps.rated(sampled, 0)) == sampled[:1]
    assert steps.away == KeptAway(where=2, sample=29, rate=28)
    assert steps.away.filtered == 59


def test_sampling_by_value_is_part_of_looking_into_events() -> None:
    steps = Steps(Select(sample=3, by="user"))
    events = [{"user": n % 30} for n in range(300)]
    passing = steps.passing(events)
    assert 0 < len(passing) < 300
    assert steps.sampled(passing) == passing
    assert steps.away.sample == 300 - len(passing)


def test_the_keys_of_events_are_remembered_up_to_a_bound_for_typos() -> None:
    steps = Steps(Select(where="a"))
    steps.passing([{"user": {"name": 1}, "ips": [{"v4": 1}], "plain": 1}])
    assert list(steps.seen_keys) == ["user", "user.name", "ips", "ips.v4", "plain"]
    steps.passing([{f"key{n}": n for n in range(1_000)}])
    assert len(steps.seen_keys) == 200
