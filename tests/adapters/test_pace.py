"""When each recorded batch is due."""

from tapring.adapters.pace import due_times
from tests.adapters.played import recorded


def due(*recordings) -> list[int | None]:
    return [due_ns for due_ns, _, _ in due_times(recordings)]


def test_a_next_file_comes_at_its_distance_from_the_one_before_it() -> None:
    first = recorded((10, 1), (20, 1), start_ns=1_000)
    assert due(first, recorded((5, 1), (6, 1), start_ns=2_000)) == [0, 10, 995, 996]
    assert due(first, recorded((5, 1), (6, 1), start_ns=0)) == [0, 10, 10, 11]
    assert due(first, recorded((5, 1), (6, 1))) == [0, 10, 10, 11]
    assert due(first, recorded((None, 1)), recorded((0, 1), start_ns=1_100)) == [0, 10, None, 90]


def test_a_batch_out_of_order_is_due_with_the_one_before_it() -> None:
    assert due(recorded((0, 1), (30, 1), (20, 1), (40, 1))) == [0, 30, 30, 40]
