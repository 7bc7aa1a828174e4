"""An engine replaces itself by exec or starts other programs: none of them keeps its lane alive."""

import tapring
from tapring.shm.segment import names
from tests.helpers import closes
from tests.promises.processes.scripts import tell


def test_after_exec_nothing_of_the_old_lane_is_alive(start, name) -> None:
    """The process goes on as another program, which holds nothing of the lane."""
    process = start("""
        tap = tapring.Tap(name)
        handle = tap.register("raw")
        print(tap.lane, flush=True)
        told()
        offer(tap, b"before")
        fds = "[os.readlink(e) for e in os.scandir('/proc/self/fd') if os.path.exists(e)]"
        other = f"import os, signal; print({fds}, flush=True); signal.pause()"
        os.execv(sys.executable, [sys.executable, "-c", other])
    """)
    with (
        tapring.capture(name, stage="raw") as session,
        tapring.attach_session(name, 1) as registered,
    ):
        tell(process)
        assert b"tapring" not in process.stdout.readline()
        for each in (session, registered):
            assert list(each) == [b"before"]
            assert each.ended_by == "engine-death"
            assert closes(each.stats)
        assert process.poll() is None
        assert not tapring.engines(name)
    assert not names(f"tapring.{name}.")


def test_a_program_that_the_engine_started_does_not_keep_its_lane_alive(start, name) -> None:
    """Not even a program that inherits every descriptor that can be inherited."""
    process = start("""
        import subprocess
        tap = tapring.Tap(name)
        tap.register("raw")
        offer(tap, b"before")
        cat = ["cat"]  # waits for the end of its input, which is the test's
        started = [
            subprocess.Popen(cat, close_fds=False),
            subprocess.Popen(cat, close_fds=False, preexec_fn=lambda: None),
        ]
        os.posix_spawnp("cat", cat, os.environ)
        print(tap.lane, flush=True)
        signal.pause()
    """)
    with tapring.attach_session(name, 1) as session:
        process.kill()
        process.wait()
        assert list(session) == [b"before"]
        assert session.ended_by == "engine-death"
    assert not names(f"tapring.{name}.")
