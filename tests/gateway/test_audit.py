"""The audit: every line is whole, and one that cannot be written is an error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tapring.gateway.audit import Audit
from tapring.gateway.problem import Problem

from .serving import Served


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "audit")


def entries(path: str) -> list:
    with open(path) as file:
        return [json.loads(line) for line in file]


def test_entries_are_appended_to_a_file_that_is_its_owners_alone(path) -> None:
    for _ in range(2):
        audit = Audit(path)
        audit.write("began", id=audit.next_id(), who="alice", asked={"grep": "\n\x1b[31m"})
        audit.close()
        audit.close()
    assert [each["what"] for each in entries(path)] == ["began", "began"]
    assert entries(path)[0]["asked"] == {"grep": "\n\x1b[31m"}
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_after_a_rotation_it_goes_on_in_a_new_file(path) -> None:
    audit = Audit(path)
    audit.write("began")
    os.rename(path, f"{path}.1")
    audit.write("ended")
    audit.reopen()
    audit.write("refused")
    audit.close()
    assert [each["what"] for each in entries(f"{path}.1")] == ["began", "ended"]
    assert [each["what"] for each in entries(path)] == ["refused"]


def test_numbers_of_reads_differ(path) -> None:
    audit = Audit(path)
    assert len({audit.next_id() for _ in range(100)}) == 100
    audit.close()


def test_what_cannot_be_written_is_a_problem() -> None:
    audit = Audit("/dev/full")
    with pytest.raises(Problem, match="audit") as caught:
        audit.write("began")
    assert caught.value.status == 503
    audit.close()


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Audit(str(tmp_path / "none" / "audit"))


def test_a_pipe_that_nobody_empties_holds_up_nothing_and_no_line_is_torn_into_another() -> None:
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    command = [sys.executable, "-m", "tapring", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        port = int(said.split(b"127.0.0.1:")[1].split(b"/")[0])
        served = Served(process, Path(os.devnull), "127.0.0.1", port, "")
        statuses = {served.get("/api/v1/engines", token="").status for _ in range(600)}
        assert statuses == {401, 503}
        os.set_blocking(process.stderr.fileno(), False)
        said = process.stderr.read()
        assert served.get("/api/v1/engines", token="").status == 401
        process.terminate()
        assert process.wait(timeout=30) == 0
        said += process.stderr.read()
    lines = [line for line in said.splitlines() if line.startswith(b"{")]
    broken = [line for line in lines if not line.endswith(b"}")]
    assert len(broken) <= 1
    assert all(json.loads(line) for line in lines if line not in broken)
