"""Open objects are notified of a fork and of the interpreter's exit, and not kept alive for it."""

import gc
import os
import weakref

from tapring.shm.hooks import Hooks


class Open:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def detach(self) -> None:
        self.calls.append("detach")

    def free(self) -> None:
        self.calls.append("free")


def test_a_forked_child_detaches_what_is_open_and_its_parent_does_not() -> None:
    held = Open()
    Hooks().watch(held, in_child=Open.detach, at_exit=Open.free)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if held.calls == ["detach"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert held.calls == []


def test_at_the_interpreters_exit_what_is_open_is_freed(spawn) -> None:
    source = """
from tapring.shm.hooks import Hooks
hooks = Hooks()
class Open:
    def free(self): print("freed", flush=True)
held = Open()
hooks.watch(held, in_child=None, at_exit=Open.free)
gone = Open()
hooks.watch(gone, in_child=None, at_exit=Open.free)
del gone
"""
    process = spawn(source, stdout=-1)
    assert process.communicate(timeout=30)[0] == b"freed\n"


def test_watching_keeps_nothing_alive() -> None:
    held = Open()
    alive = weakref.ref(held)
    Hooks().watch(held, in_child=Open.detach, at_exit=Open.free)
    del held
    gc.collect()
    assert alive() is None
