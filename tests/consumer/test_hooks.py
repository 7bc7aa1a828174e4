"""Open sessions are left alone by a forked child, and freed at the interpreter's exit."""

import gc
import os
import weakref

from tapring.consumer.hooks import watch


class Open:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def detach(self) -> None:
        self.calls.append("detach")

    def free(self) -> None:
        self.calls.append("free")


def test_a_forked_child_detaches_what_is_open_and_its_parent_does_not() -> None:
    held = Open()
    watch(held)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if held.calls == ["detach"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert held.calls == []


def test_at_the_interpreters_exit_what_is_open_is_freed(spawn) -> None:
    source = """
from tapring.consumer.hooks import watch
class Open:
    def free(self): print("freed", flush=True)
held = Open()
watch(held)
gone = Open()
watch(gone)
del gone
"""
    process = spawn(source, stdout=-1)
    assert process.communicate(timeout=30)[0] == b"freed\n"


def test_watching_keeps_nothing_alive() -> None:
    held = Open()
    alive = weakref.ref(held)
    watch(held)
    del held
    gc.collect()
    assert alive() is None
