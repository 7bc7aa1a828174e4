"""Workers of multiprocessing are lanes of one engine, whichever way they were started."""

import pytest

import tapring
from tests.promises.processes.scripts import keep_their_order

WORKERS = """
import multiprocessing, os, sys, time
import tapring

tap = None  # a forked worker has its parent's

def work(name, who, close):
    global tap
    tap = tap or tapring.Tap(name)
    tap.snapshot()
    parent = os.getppid()
    while not os.path.exists(sys.path[0] + "/go"):
        time.sleep(0.001)
        if os.getppid() != parent:
            sys.exit("the test is over")
    for i in range(200):
        tap.snapshot().offer("raw", [b"%d %d" % (who, j) for j in range(5 * i, 5 * i + 5)])
    if close:
        tap.close()

def main(name, method, close):
    global tap
    tap = tapring.Tap(name)
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=work, args=(name, who, close)) for who in (1, 2)]
    for worker in workers:
        worker.start()
    work(name, 0, close)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
"""


@pytest.fixture
def pool(spawn, name, tmp_path, wait_for):
    """Run an engine of three processes, started by a method, and read a capture to its end."""

    def started(method: str, *, close: bool) -> tuple[tapring.Session, list[bytes]]:
        (tmp_path / "workers.py").write_text(WORKERS)
        process = spawn(
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import workers\n"
            f"workers.main({name!r}, {method!r}, {close})",
            stderr=-1,
        )
        wait_for(lambda: len(tapring.engines(name)) == 3)
        with tapring.capture(name, stage="raw") as session:
            (tmp_path / "go").touch()
            lines = list(session)
        assert process.communicate(timeout=30)[1].decode() == ""
        assert process.returncode == 0
        return session, lines

    return started


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_any_start_method_are_lanes_of_one_engine(pool, method) -> None:
    session, lines = pool(method, close=True)
    assert session.ended_by == "engine-exit"
    assert keep_their_order(lines) == {b"0": 1000, b"1": 1000, b"2": 1000}
    assert session.stats.offered == session.stats.delivered == 3000


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_that_return_without_closing_have_exited_and_not_died(pool, method) -> None:
    session, lines = pool(method, close=False)
    assert len(lines) == session.stats.offered == 3000
    assert session.ended_by == "engine-exit"
