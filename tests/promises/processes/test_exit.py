"""However an engine ends, a consumer can read what it offered."""

import gc
import signal
import textwrap

import pytest

import tapring
from tapring.engine import tap as engine_tap
from tapring.engine.lane import Lane
from tapring.shm.segment import names
from tests.helpers import closes, interrupt_once
from tests.promises.processes.scripts import PRELUDE, keep_their_order, tell


@pytest.mark.parametrize(
    ("way", "code", "ended_by"),
    [
        ("pass", 0, "engine-exit"),
        ("sys.exit(3)", 3, "engine-exit"),
        ("raise KeyError", 1, "engine-exit"),
        ("os._exit(0)", 0, "engine-death"),
        ("os.abort()", -signal.SIGABRT, "engine-death"),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, "engine-death"),
    ],
)
def test_however_an_engine_ends_what_it_offered_is_read(spawn, name, way, code, ended_by) -> None:
    source = PRELUDE + (
        f"tap = tapring.Tap(name)\nprint(flush=True)\ntold()\noffer(tap, b'last', b'words')\n{way}"
    )
    process = spawn(source, name, stdin=-1, stdout=-1, stderr=-1)
    process.stdout.readline()
    with tapring.capture(name, stage="raw") as session:
        tell(process)
        assert list(session) == [b"last", b"words"]
        assert session.ended_by == ended_by
        assert session.stats.offered == session.stats.delivered == 2
    assert process.wait(30) == code
    assert not names(f"tapring.{name}.")


@pytest.mark.parametrize("attempt", range(4))
def test_daemon_threads_that_still_offer_do_not_disturb_an_exit(spawn, name, attempt) -> None:
    """Neither do threads that open and close sessions. Each attempt exits at another moment."""
    source = PRELUDE + textwrap.dedent("""
        sys.setswitchinterval(1e-5)
        tap = tapring.Tap(name)
        print(flush=True)
        until(tap.snapshot)

        def offers(thread):
            number = 0
            while True:
                offer(tap, b"%d %d" % (thread, number), b"%d %d" % (thread, number + 1))
                number += 2

        def registers():
            while True:
                handle = tap.register("decoded", buffer_bytes=4096)
                if handle:
                    handle.close()

        for i in range(3):
            threading.Thread(target=offers, args=(i,), daemon=True).start()
        threading.Thread(target=registers, daemon=True).start()
        told()
    """)
    process = spawn(source, name, stdin=-1, stdout=-1, stderr=-1)
    process.stdout.readline()
    with tapring.capture(name, stage="raw", buffer_bytes=64 << 10) as session:
        lines = session.read(1000 * (attempt + 1), timeout=30)
        tell(process)
        lines += list(session)
        stats = session.stats
        assert session.ended_by == "engine-exit"
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    assert closes(stats)
    assert sum(keep_their_order(lines).values()) == stats.delivered
    assert not names(f"tapring.{name}.")


def test_a_daemon_thread_that_still_reads_does_not_disturb_an_exit(spawn, name) -> None:
    """The exit comes just before the thread takes a frame; the thread then goes on."""
    early = textwrap.dedent("""
        import atexit, threading
        reading, go = threading.Event(), threading.Event()

        def last():
            go.set()
            thread.join()

        atexit.register(last)  # registered before tapring's handler, so it is called after that
    """)
    source = textwrap.dedent("""
        from tapring.wire.reader import Reader

        def stop(frame, event, arg):
            if frame.f_code is Reader.take.__code__:
                reading.set()
                go.wait()

        def work():
            sys.settrace(stop)
            list(session)
            print(session.ended_by)

        tap = tapring.Tap(name)
        session = tapring.capture(name, stage="raw")
        offer(tap, b"unread")
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        reading.wait()
    """)
    process = spawn(early + PRELUDE + source, name, stdout=-1, stderr=-1)
    out, err = process.communicate(timeout=30)
    assert err.decode() == ""
    assert out.decode().strip() == "closed"
    assert not names(f"tapring.{name}.")


def test_what_an_engine_offers_that_exits_while_a_session_is_opened_is_read(run) -> None:
    """It exits after the row was made and before its consumer has mapped the ring."""
    run("""
        from tapring.consumer.attachment import Attachment
        opening, go, failed = threading.Event(), threading.Event(), []

        def stop(frame, event, arg):
            if frame.f_code is Attachment.__init__.__code__:
                opening.set()
                go.wait()

        def work():
            sys.settrace(stop)
            try:
                with tapring.capture(name, stage="raw") as session:
                    assert (list(session), session.ended_by) == ([b"last"], "engine-exit")
            except Exception as error:
                failed.append(error)

        tap = tapring.Tap(name)
        thread = threading.Thread(target=work)
        thread.start()
        opening.wait()
        while tap.snapshot() is None:  # it maps the ring in parts
            pass
        offer(tap, b"last")
        tap.close()
        go.set()
        thread.join()
        assert not failed, failed
    """)


def test_an_engine_that_exits_without_closing_leaves_nothing(name, spawn) -> None:
    process = spawn(f"import tapring; tap = tapring.Tap({name!r}); tap.register('raw')")
    assert process.wait(30) == 0
    assert not names(f"tapring.{name}")


@pytest.mark.parametrize("method", ["end_all", "close"])
def test_a_close_that_is_interrupted_leaves_no_lane(name, method, monkeypatch) -> None:
    tap = tapring.Tap(name)
    interrupt_once(monkeypatch, Lane, method)
    with pytest.raises(KeyboardInterrupt):
        tap.close()
    assert tapring.engines(name) == []
    assert not names(f"tapring.{name}.")


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_a_handlers_exception_while_a_lane_is_made_is_raised_and_leaves_nothing(
    name, error, monkeypatch
) -> None:
    for owner, method in ((engine_tap, "create_registry"), (Lane, "calibrate")):
        with monkeypatch.context() as patch, pytest.raises(error):
            interrupt_once(patch, owner, method, error)
            tapring.Tap(name)
    gc.collect()
    assert not names(f"tapring.{name}.")
