"""Recordings of other users: only root reads them. What others put in their place is named."""

import subprocess

import pytest

from tapring.shm.evidence import recordings_of
from tapring.shm.names import new_lane, recording_name
from tests.conftest import SHM
from tests.promises.users.three_users import DROP, KINDS, OPERATOR, ROOT, STRANGER

pytestmark = pytest.mark.usefixtures("recordings")

RECORDING = (
    DROP
    + """
os.umask(int(sys.argv[2], 8))
tap = tapring.Tap(sys.argv[1], recorder="decoded", recorder_bytes=1 << 16)
for n in range(3):
    tap.emit("decoded", {"n": n, "password": "secret"})
print(tap.lane, flush=True)
sys.stdin.read()
"""
)
DUMPED = b'{"n":0,"password":"secret"}\n{"n":1,"password":"secret"}\n{"n":2,"password":"secret"}\n'


@pytest.fixture
def record(spawn, name):
    """Start an engine of user ``uid`` that records; return it, and its lane."""

    def start(uid: int, umask: str = "022") -> tuple[subprocess.Popen[bytes], str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        engine = spawn(RECORDING, str(uid), name, umask, **pipes)
        lane = engine.stdout.readline().decode().strip()
        assert lane, "the engine did not start"
        return engine, lane

    return start


@pytest.mark.parametrize(("ends", "umask"), [("lives", "000"), ("is killed", "077")])
def test_another_users_recording_cannot_be_read(record, command, name, ends, umask) -> None:
    engine, lane = record(OPERATOR, umask)
    if ends == "is killed":
        engine.kill()
        engine.wait()
    for each in recordings_of(name):
        assert (SHM / each).stat().st_mode & 0o777 == 0o600
    for address in (name, f"{name}.{lane}"):
        done = command(STRANGER, "dump", address)
        assert (done.returncode, done.stdout) == (3, b"")
        assert b"belongs to user 65534" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = command(STRANGER, "gc", "--evidence", name)
    assert len(recordings_of(name)) == 2
    for uid in (OPERATOR, ROOT):
        assert command(uid, "dump", name, "--summary", "none").stdout == DUMPED


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_user_puts_in_place_of_a_recording_is_named_and_left_alone(
    record, put, command, name, kind
) -> None:
    record(OPERATOR)
    planted = put(SHM / recording_name(name, lane := new_lane(), "decoded"), kind)
    done = command(OPERATOR, "dump", name)
    assert done.stdout == DUMPED
    assert done.returncode == 3, "not everything could be read"
    assert f"lane {lane} was not read" in done.stderr.decode()
    done = command(OPERATOR, "dump", f"{name}.{lane}")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert planted.is_symlink() or planted.exists()
