"""Systems that are not Linux: the package imports, a Tap is inert, and the rest says why.

A separate process removes what such a system lacks before it imports tapring.
"""

import subprocess
import sys

import pytest

# What the standard library has already imported works as on Linux; tapring itself must not.
ELSEWHERE = """
import asyncio, atexit, mmap, msgspec, os, platform, signal, subprocess, sys, threading, warnings
import click, jmespath, numpy

elsewhere, code = sys.argv.pop(1), sys.argv.pop(1)
hidden = {"posix_ipc"}
lacks = {
    mmap: [n for n in dir(mmap) if n.startswith("MADV_")],
    os: [
        "memfd_create", "posix_fallocate", "sched_getaffinity", "sched_yield", "splice",
    ],
}
import fcntl
lacks[fcntl] = [n for n in dir(fcntl) if n.startswith(("F_OFD", "F_SETPIPE", "F_GETPIPE"))]
if elsewhere == "win32":
    hidden |= {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
    lacks[mmap] += ["MAP_PRIVATE", "MAP_SHARED", "PROT_READ", "PROT_WRITE"]
    lacks[os] += [n for n in dir(os) if n.startswith(("get", "set")) and n.endswith("uid")]
    lacks[os] += ["O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod", "fchown", "fork"]
    lacks[os] += ["pread", "pwrite", "register_at_fork"]
    lacks[signal] = ["SIGALRM", "SIGHUP", "SIGPIPE", "SIGUSR1", "SIGXFSZ"]
for module, names in lacks.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in hidden:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
listdir = os.listdir
def absent(path):
    if str(path).startswith(("/dev/shm", "/proc")):
        raise AssertionError(f"{path} was looked at")
os.listdir = lambda path=".": absent(path) or listdir(path)
sys.platform = elsewhere
warnings.simplefilter("always")
warnings.showwarning = lambda message, *_, **__: print("warned:", message, file=sys.stderr)
exec(code)
"""

EVERYTHING = """
import tapring

tap = tapring.Tap("detector", stages={"points": tapring.array("i4,f8")}, redact={"raw": "a"})
with tap:
    assert tap.reason == f"tapring needs Linux, and this system is {elsewhere}", tap.reason
    assert (tap.lane, tap.active_sessions, tap.faults, tap.misuse) == (None, 0, 0, 0)
    for _ in range(3):
        assert tap.snapshot() is None
    assert tap.register("raw") is None
    assert tap.stages == ("raw", "decoded", "points")
    tap.cost
tap.close()
try:
    tapring.Tap("No Name")
except ValueError:
    pass
else:
    raise AssertionError("a wrong name passed")
for call in (
    lambda: tapring.capture("detector"),
    lambda: tapring.capture("detector", wait=5),
    lambda: tapring.attach_session("detector:1"),
    lambda: tapring.close_session("detector.0a1b2c3d:1"),
    tapring.engines,
):
    try:
        call()
    except tapring.TapError as error:
        assert str(error) == tap.reason, error
    else:
        raise AssertionError("it did not say why it cannot work")
assert tapring.Select(grep="a", where="b").describe()
assert tapring.Redactor("a").token("x")
print("done")
"""

COMMAND = """
import runpy
module = sys.argv[1]
del sys.argv[1]
sys.exit(runpy.run_module(module, run_name="__main__", alter_sys=True))
"""


def elsewhere(platform: str, code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ELSEWHERE, platform, code, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_a_tap_is_inert_and_the_rest_says_why(platform) -> None:
    result = elsewhere(platform, EVERYTHING)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "done\n"


@pytest.mark.parametrize("platform", ["darwin", "win32"])
@pytest.mark.parametrize(
    "args",
    [
        ("tapring", "attach", "detector", "--limit", "1", "-o", "x.ndjson"),
        ("tapring", "ls", "--json"),
        ("tapring", "pipe", "detector"),
        ("tapring", "gc"),
        ("tapring", "replay", "x.ndjson"),
        ("tapring.attach", "detector", "--stage", "raw"),
        ("tapring.pipe", "detector"),
    ],
    ids=lambda args: " ".join(args[:2]),
)
def test_elsewhere_a_command_says_why_it_does_not_run(platform, args) -> None:
    result = elsewhere(platform, COMMAND, *args)
    said = f"tapring: error: tapring needs Linux, and this system is {platform}\n"
    assert (result.returncode, result.stdout, result.stderr) == (3, "", said)


def test_elsewhere_help_and_version_work() -> None:
    helped = elsewhere("darwin", COMMAND, "tapring", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "tapring needs Linux" in helped.stdout
    assert elsewhere("darwin", COMMAND, "tapring", "--version").stdout.startswith(
        "tapring, version"
    )
