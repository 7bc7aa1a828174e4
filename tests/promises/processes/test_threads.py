"""Threads of an engine offer at the same time: each keeps its order, and the account is exact."""

from concurrent.futures import ThreadPoolExecutor

import tapring
from tests.helpers import closes
from tests.promises.processes.scripts import keep_their_order, tell


def test_threads_share_a_ring_that_is_too_small_and_the_account_is_exact(start, name) -> None:
    """Another process reads meanwhile, and other sessions come and go."""
    process = start("""
        tap = tapring.Tap(name, strict=True)
        print(tap.lane, flush=True)
        told()

        def work(thread):
            for i in range(0, 20_000, 20):
                offer(tap, *[b"%d %d" % (thread, j) for j in range(i, i + 20)])
                if i % 400 == 0:
                    with tap.register("raw", buffer_bytes=4096):
                        pass

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not tap.faults
        tap.close()
    """)
    with tapring.capture(name, stage="raw", buffer_bytes=1 << 10) as session:
        tell(process)
        missed, lines = 0, []
        for frame in session.frames():
            missed += frame.missed
            lines += frame.events()
        stats = session.stats
    assert session.ended_by == "engine-exit"
    assert stats.offered == 4 * 20_000
    assert closes(stats)
    assert stats.dropped
    assert sum(keep_their_order(lines).values()) == stats.delivered
    assert missed <= stats.dropped == stats.offered - stats.delivered
    assert process.wait(30) == 0


def test_threads_offer_to_several_stages_and_each_keeps_its_order(tap, name) -> None:
    with (
        tapring.capture(name, stage="raw", buffer_bytes=8 << 20) as raw,
        tapring.capture(name, stage="decoded", buffer_bytes=8 << 20) as decoded,
    ):

        def work(thread: int) -> None:
            for i in range(80):  # in all fewer than may be left to a thread that gets no core
                watched = tap.snapshot()
                watched.offer("raw", [b"%d %d" % (thread, i)])
                watched.offer("decoded", [[thread, i]])

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(work, range(6)))
        tap.close()
        lines = list(raw)
        pairs = [b"%d %d" % tuple(event) for event in decoded]
        assert keep_their_order(lines) == keep_their_order(pairs)
        assert len(lines) == raw.stats.offered == decoded.stats.offered == 6 * 80
