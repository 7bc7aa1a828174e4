"""Forked processes that kill themselves at any line of tapring's code; and what a dead one left."""

from __future__ import annotations

PRELUDE = '''
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads
import difflib  # an error message may import it
import tapring
from tapring.wire import layout
from tapring.shm.sweep import sweep
from tapring.shm.segment import names

package = os.path.dirname(tapring.__file__)
name, stride = sys.argv[1], int(sys.argv[2])

def dies_at(step, work):
    """Fork a process that does ``work`` and kills itself at that step; return if it did."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        left = step
        def at_line(frame, event, arg):
            nonlocal left
            if event == "line":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return at_line
        def at_call(frame, event, arg):
            return at_line if frame.f_code.co_filename.startswith(package) else None
        try:
            work(lambda: sys.settrace(at_call))
            os._exit(0)
        except BaseException as error:
            print("in the child:", repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code != 0

def every_step(work, check):
    steps = 0
    while True:
        died = dies_at(steps, work)
        check()
        if not died:
            break
        steps += stride
    print(steps, flush=True)
'''
"""What a script of steps begins with. Its arguments are the engine's name and the stride."""
