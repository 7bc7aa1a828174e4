"""A Tap is notified of a fork and of the exit, and is not kept alive for that."""

import gc
import os
import weakref
from multiprocessing import util

from tapring import Tap
from tapring.engine.process import exit_with_the_worker, watch

ENTRIES: dict[object, object] = vars(util)["_finalizer_registry"]


class Watched:
    def __init__(self) -> None:
        self.calls: list[str] = []


def test_a_forked_child_is_told_and_its_parent_is_not() -> None:
    watched = Watched()
    watch(watched, in_child=lambda each: each.calls.append("child"), at_exit=lambda _: None)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if watched.calls == ["child"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert watched.calls == []


def test_the_exit_is_told_to_what_still_lives(spawn) -> None:
    source = """
from tapring.engine.process import watch
class Watched: pass
def says(what):
    return lambda each: print(what, flush=True)
kept, gone = Watched(), Watched()
watch(kept, in_child=says("child"), at_exit=says("exit"))
watch(gone, in_child=says("child"), at_exit=says("gone"))
del gone
"""
    process = spawn(source, stdout=-1)
    assert process.communicate(timeout=30)[0] == b"exit\n"


def test_watching_keeps_nothing_alive() -> None:
    watched = Watched()
    alive = weakref.ref(watched)
    watch(watched, in_child=lambda _: None, at_exit=lambda _: None)
    del watched
    gc.collect()
    assert alive() is None


def test_taps_that_come_and_go_leave_one_entry_with_multiprocessing(name) -> None:
    exit_with_the_worker()
    before = len(ENTRIES)
    for _ in range(3):
        Tap(name).close()
    assert len(ENTRIES) == before


def test_a_forked_process_registers_an_exit_of_its_own() -> None:
    """Also if multiprocessing has forgotten the parent's, as it does in its workers."""
    exit_with_the_worker()
    pid = os.fork()
    if pid == 0:
        before = set(ENTRIES)
        exit_with_the_worker()
        after_a_fork = len(set(ENTRIES) - before)
        ENTRIES.clear()
        exit_with_the_worker()
        os._exit(0 if (after_a_fork, len(ENTRIES)) == (1, 1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
