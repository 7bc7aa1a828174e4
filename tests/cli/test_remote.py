"""``attach`` and ``dump`` of an engine behind a server: as of one that is here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pyarrow.parquet as pq
import pytest

from tests.conftest import wait_until
from tests.gateway.conftest import OFFERING
from tests.gateway.test_client import answering


@pytest.fixture
def shop(spawn, name, recordings) -> str:
    process = spawn(OFFERING, name, "0.005", "decoded", "remote", stdout=subprocess.PIPE)
    process.stdout.readline()
    return name


@pytest.fixture
def there(serve, run_cli, monkeypatch):
    """Run a command with the URL of a server in place of URL, and its token in the environment."""
    server = serve()
    monkeypatch.setenv("TAPRING_TOKEN", server.token)
    url = f"http://127.0.0.1:{server.port}"
    return lambda *args: run_cli(*(each.replace("URL", url) for each in args))


def test_attach_has_the_formats_outputs_and_exit_codes_of_here(there, shop, tmp_path) -> None:
    result = there("attach", f"URL/{shop}", "--limit", "7", "--where", "level=='error'")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert len(events) == 7
    assert {each["level"] for each in events} == {"error"}
    assert b"7 events of" in result.stderr
    assert b"nothing was lost" in result.stderr
    assert b"did not match --where" in result.stderr
    path = str(tmp_path / "events.parquet")
    result = there("attach", f"URL/{shop}", "--stage", "*", "--limit", "40", "-o", path)
    assert result.returncode == 0, result.stderr
    table = pq.read_table(path)
    assert table.num_rows == 40
    assert set(table["tapring_stage"].to_pylist()) == {"raw", "decoded"}
    result = there("attach", f"URL/{shop}", "--stage", "raw", "--limit", "2", "--format", "raw")
    assert result.stdout.startswith(b"line ")
    result = there("attach", f"URL/{shop}", "--limit", "1", "--summary", "json")
    assert json.loads(result.stderr)["tapring_summary"]["ended_by"] == "limit"


def test_dump_and_last_reach_into_the_past(there, shop) -> None:
    result = there("dump", f"URL/{shop}", "--last", "5")
    assert (result.returncode, result.stdout.count(b"\n")) == (0, 5)
    result = there("attach", f"URL/{shop}", "--last", "10s", "--limit", "3")
    assert json.loads(result.stdout.splitlines()[0])["n"] == 0


def test_ls_shows_the_table_and_the_json_of_there(there, shop) -> None:
    assert shop.encode() in there("ls", "URL").stdout
    (lane,) = json.loads(there("ls", f"URL/{shop}", "--json").stdout)
    assert (lane["name"], lane["remote"]) == (shop, True)


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        (("attach", "URL"), 2, b"names no engine"),
        (("attach", "URL/A"), 2, b"Invalid address"),
        (("attach", "URL/none-here"), 3, b"none-here"),
        (("attach", "URL/NAME", "--buffer", "1M"), 2, b"--buffer"),
        (("attach", "URL/NAME", "--follow"), 2, b"--follow"),
        (("attach", "URL/NAME", "--wake", "spin"), 2, b"--wake"),
        (("attach", "URL/NAME", "--merge-lag", "1s"), 2, b"--merge-lag"),
        (("attach", "URL/NAME", "--delivery", "at-least-once"), 2, b"--delivery"),
        (("attach", "URL/NAME", "--session", "7"), 2, b"--session"),
        (("attach", "URL/NAME", "--duration", "99h"), 3, b"--duration 24h or less"),
        (("dump", "URL/nosuch"), 3, b"no engine that can be read here"),
        (("ls", "URL/#token=abc"), 2, b"TAPRING_TOKEN"),
        (("attach", "URL/NAME", "--stage", "none"), 3, b"none"),
        (("attach", "URL/NAME", "-o", "x.nothing"), 2, b"x.nothing"),
        (("attach", "http://127.0.0.1:1/x"), 3, b"cannot be read"),
        (("dump", "URL/NAME", "--since", "21:00"), 2, b"--last"),
        (("ls", "URL", "--dead"), 2, b"--dead"),
        (("ls", "URL/none-here"), 3, b"none-here"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(there, shop, args, code, why) -> None:
    result = there(*(each.replace("NAME", shop) for each in args))
    assert result.returncode == code, result.stderr
    assert why in result.stderr
    assert result.stderr.startswith(b"tapring: error:")
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "account", ['{"ended_by":"limit"}', '{"ended_by":"limit","dropped":"x"}', '{"ended_by":"end"}']
)
def test_an_account_that_cannot_be_read_costs_only_its_line(run_cli, tmp_path, account) -> None:
    body = 'event: account\ndata: {"tapring_account":{"dropped":"x"}}\n\nevent: summary\n'
    body += f'data: {{"tapring_summary":{account}}}\n\n'
    with answering(body.encode(), kind="text/event-stream") as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/shop"
        result = run_cli("attach", url, "-o", str(tmp_path / "events.ndjson"))
        server.shutdown()
        thread.join()
    assert result.returncode == 0
    assert b"account" in result.stderr
    assert b"Traceback" not in result.stderr
    assert (tmp_path / "events.ndjson").exists()


def test_without_the_token_it_says_where_to_put_it(there, shop, monkeypatch) -> None:
    monkeypatch.delenv("TAPRING_TOKEN")
    result = there("attach", f"URL/{shop}")
    assert result.returncode == 3
    assert b"TAPRING_TOKEN" in result.stderr


def test_a_token_that_is_none_is_refused_and_not_repeated(there, monkeypatch) -> None:
    monkeypatch.setenv("TAPRING_TOKEN", "SECRET\n")
    result = there("ls", "URL")
    assert result.returncode == 2
    assert b"TAPRING_TOKEN" in result.stderr
    assert b"SECRET" not in result.stderr


@pytest.mark.parametrize("options", [(), ("--dead",), ("--json",), ("--watch", "--json")])
def test_a_token_in_a_url_is_not_repeated(run_cli, options) -> None:
    result = run_cli("ls", "http://127.0.0.1:8700/#token=SECRET", *options)
    assert result.returncode == 2
    assert b"TAPRING_TOKEN" in result.stderr
    assert b"SECRET" not in result.stderr


def test_a_certificate_that_cannot_be_used_is_named(run_cli, monkeypatch) -> None:
    monkeypatch.setenv("TAPRING_CERT", "/none/here.pem")
    for command in (("ls", "https://127.0.0.1:1"), ("attach", "https://127.0.0.1:1/shop")):
        result = run_cli(*command)
        assert result.returncode == 3
        assert b"/none/here.pem" in result.stderr
        assert result.stderr.count(b"\n") == 1


def test_ctrl_c_ends_it_with_what_is_known(serve, shop, tmp_path) -> None:
    server = serve()
    path = tmp_path / "events.ndjson"
    command = [sys.executable, "-m", "tapring", "attach"]
    command += [f"http://127.0.0.1:{server.port}/{shop}", "-o", str(path)]
    environment = {**os.environ, "TAPRING_TOKEN": server.token}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    part = tmp_path / "events.ndjson.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 1000)
    process.send_signal(2)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"ended by interrupt" in said
    assert b"lost" in said or b"not told of any loss" in said
    assert path.read_bytes().count(b"\n") > 10


def test_when_the_engine_dies_the_exit_code_says_so(serve, spawn, name) -> None:
    engine = spawn(OFFERING, name, "0.005", "", "remote", stdout=subprocess.PIPE)
    engine.stdout.readline()
    server = serve()
    command = [sys.executable, "-m", "tapring", "attach", f"http://127.0.0.1:{server.port}/{name}"]
    environment = {**os.environ, "TAPRING_TOKEN": server.token}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        engine.kill()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 4
    assert b"engine-death" in said
