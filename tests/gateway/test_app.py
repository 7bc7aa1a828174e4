"""The routes: who may ask for what, what is noted of it, and what is never shown."""

from __future__ import annotations

import json
import os
import socket
import time
from urllib.parse import quote

import pytest

import tapring
from tests.conftest import unique_name, wait_until

from .conftest import sessions

LS, READ, RAW = "l" * 32, "r" * 32, "w" * 32
NEED_ROLES = [
    ("/api/v1/engines", "GET", "ls"),
    ("/api/v1/whoami", "GET", "ls"),
    ("/api/v1/check", "GET", "ls"),
    ("/api/v1/tap/NAME?limit=1", "GET", "read"),
    ("/api/v1/dump/NAME?last=1", "POST", "read"),
]


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"lister ls {LS}\nreader read {READ}\nowner read-raw {RAW}\n")
    path.chmod(0o600)
    return path


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(("path", "method", "role"), NEED_ROLES)
def test_each_route_needs_its_role(serve, engine, name, tokens, path, method, role) -> None:
    engine(name, recorder="decoded")
    server = serve("--tokens", str(tokens))
    path = path.replace("NAME", name)
    wait_until(lambda: tapring.engines(name, sweep=False))
    time.sleep(0.05)
    assert server.get(path, method=method, token="").status == 401
    assert server.get(path, method=method, token="x" * 32).status == 401
    assert server.get(path, method=method, token=LS).status == (200 if role == "ls" else 403)
    assert server.get(path, method=method, token=READ).status == 200


def test_a_token_is_taken_from_the_header_alone_and_is_in_no_log(serve, engine, name) -> None:
    engine(name)
    server = serve()
    for path in (
        f"/api/v1/engines?token={server.token}",
        f"/api/v1/tap/{name}?token={server.token}",
    ):
        assert server.get(path, token="").status == 401
    assert (
        server.get("/api/v1/engines", {"Cookie": f"token={server.token}"}, token="").status == 401
    )
    assert server.get("/api/v1/engines", {"Authorization": "Basic YTpi"}).status == 401
    assert server.get(f"/api/v1/tap/{name}?limit=1").status == 200
    assert sum(server.token in line for line in server.log.read_text().splitlines()) == 1


def test_the_servers_redaction_holds_whatever_is_asked(serve, engine, name, tokens) -> None:
    """A filter must not find out what is hidden, either: it sees tokens."""
    engine(name)
    server = serve("--tokens", str(tokens), "--redact", "user.email", "--redact-ignore-case")
    asked = ["", "redact=n", "fields=user", "redact_regex=zzz", "envelope=1", "format=sse"]
    asked += ["stage=decoded", "sample=2&by=user.email", "grep=email"]
    for query in asked:
        answer = server.get(f"/api/v1/tap/{name}?limit=5&{query}", token=READ)
        assert answer.status == 200
        assert b"example.org" not in answer.body
        assert b"tapring:redacted:" in answer.body
    for query in (
        "grep=example.org",
        "where=" + quote("ends_with(user.email, 'example.org')"),
        "where=" + quote("user.email=='u1@example.org'"),
    ):
        answer = server.get(f"/api/v1/tap/{name}?duration=300ms&{query}", token=READ)
        assert answer.events == []
        assert answer.summary["offered"] > 0
        assert server.get(f"/api/v1/tap/{name}?limit=1&{query}", token=RAW).events
    who = server.get("/api/v1/whoami", token=READ).json
    assert who["redacted"] == ["user.email"]
    assert server.get("/api/v1/whoami", token=RAW).json["redacted"] == []


@pytest.mark.usefixtures("recordings")
def test_a_dump_is_redacted_as_a_stream_is_and_ends_with_its_account(
    serve, engine, name, tokens
) -> None:
    process = engine(name, recorder="decoded")
    wait_until(lambda: len(list(tapring.past(name).frames())) > 3)
    process.kill()
    process.wait()
    server = serve("--tokens", str(tokens), "--redact", "user.email")
    answer = server.get(f"/api/v1/dump/{name}?last=15", method="POST", token=READ)
    assert len(answer.events) == 15
    assert b"example.org" not in answer.body
    assert answer.summary["asked"] == "15 events"
    assert not answer.summary["recordings"][0]["alive"]
    asked = quote("user.email=='u1@example.org'")
    path = f"/api/v1/dump/{name}?where={asked}"
    assert server.get(path, method="POST", token=READ).events == []
    assert server.get(path, method="POST", token=RAW).events
    assert server.get(f"/api/v1/dump/{name}", token=RAW).status == 405


def test_only_allowed_engines_can_be_seen(serve, engine) -> None:
    ours, other = f"web-{unique_name()}"[:60], unique_name()
    engine(ours)
    engine(other)
    server = serve("--allow", "web-*")
    assert {each["name"] for each in server.get("/api/v1/engines").json} == {ours}
    assert server.get(f"/api/v1/tap/{ours}?limit=1").status == 200
    pid = tapring.engines(other, sweep=False)[0].pid
    lane = tapring.engines(other, sweep=False)[0].lane
    for address in (other, "*", f"{other}.{lane}", str(pid), other[:3] + "*"):
        answer = server.get(f"/api/v1/tap/{quote(address)}?limit=1")
        assert answer.status == 404
        assert server.get(f"/api/v1/dump/{quote(address)}", method="POST").status == 404
        assert other not in answer.body.decode().replace(address, "")
    assert server.get(f"/api/v1/engines/{other}").status == 404
    assert server.get(f"/api/v1/tap/{other[:-1]}").body.decode().count(other) == 0
    assert server.get("/api/v1/tap/web-%2A?limit=1").status == 200


@pytest.mark.usefixtures("recordings")
def test_an_engine_that_allows_no_remote_access_is_not_read(serve, engine, name) -> None:
    engine(name, recorder="decoded", remote=False)
    server = serve()
    wait_until(lambda: len(list(tapring.past(name).frames())) > 0)
    for path, method in ((f"/api/v1/tap/{name}", "GET"), (f"/api/v1/dump/{name}", "POST")):
        answer = server.get(path, method=method)
        assert answer.status == 503
        assert "remote" in answer.json["error"]
    assert sessions(name) == 0
    engine(name)  # another process of that engine allows it
    answer = server.get(f"/api/v1/tap/{name}?limit=5")
    assert answer.status == 200
    assert [each["reason"] for each in answer.summary["lanes_refused"]] == ["remote-off"]


def test_every_read_is_noted_as_it_begins_and_as_it_ends(serve, engine, name, tmp_path) -> None:
    engine(name)
    path = tmp_path / "audit.ndjson"
    server = serve("--audit", str(path), "--redact", "user.email")
    asked = quote("n>=`0`")
    server.get(f"/api/v1/tap/{name}?limit=7&where={asked}&stage=decoded")
    server.get("/api/v1/tap/none-here")
    server.get("/api/v1/engines", token="")
    wait_until(lambda: len(path.read_text().splitlines()) == 5)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    entries.sort(key=lambda each: each.get("id", 9))
    assert [each["what"] for each in entries] == ["began", "ended", "began", "ended", "refused"]
    began, ended = entries[:2]
    assert began["id"] == ended["id"]
    assert began["asked"] == {"limit": 7, "where": "n>=`0`"}
    assert (ended["who"], ended["role"], ended["address"]) == ("owner", "read-raw", name)
    assert (ended["events"], ended["ended_by"], ended["stages"]) == (7, "limit", ["decoded"])
    assert entries[3]["status"] == 404
    assert entries[4]["status"] == 401
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_every_refusal_is_noted_once(serve, name) -> None:
    server = serve("--allow", "web-*")
    with tapring.Tap(name):
        paths = [f"/api/v1/tap/{name}", "/api/v1/tap/web-1?stge=x", "/api/v1/tap/web-1?duration=9d"]
        for path in paths:
            assert server.get(path).status >= 400
        server.get(f"/api/v1/dump/{name}", method="POST")
        server.get("/healthz", {"Host": "evil.example"})
        server.get("/healthz", {"Origin": "null"})
        server.get("/api/v1/engines", token="")
        server.get("/" + "%01" * 3000)
    wait_until(lambda: len(server.audit("refused")) >= 7)
    statuses = [each["status"] for each in server.audit("refused")]
    assert statuses == [404, 400, 400, 404, 421, 403, 401]
    assert max(map(len, server.log.read_text().splitlines())) < 2000


@pytest.mark.usefixtures("recordings")
def test_a_dump_tells_of_no_engine_that_is_not_allowed(serve, name) -> None:
    with tapring.Tap(name, recorder="raw") as tap:
        tap.emit("raw", b"x")
    server = serve("--allow", "web-*")
    for address in ("web-zzz", "web-1.00000000", "web-*"):
        answer = server.get(f"/api/v1/dump/{quote(address)}", method="POST")
        assert answer.status == 404
        assert name not in answer.body.decode()


def test_a_filter_that_takes_long_does_not_keep_others_waiting(serve, engine, name) -> None:
    engine(name, pause_s=0.0005)
    server = serve()
    slow = quote(" || ".join(f"n==`-{i}`" for i in range(60)))
    backtracks = quote("(a+)+$X|(l+)+z$")
    paths = [f"/api/v1/tap/{name}?where={slow}", f"/api/v1/tap/{name}?stage=raw&grep={backtracks}"]
    with server.open(paths[0]), server.open(paths[1]):
        for _ in range(5):
            assert server.get("/healthz").status == 200
        server.process.terminate()
        assert server.process.wait(timeout=30) == 0


def test_if_it_cannot_be_noted_nothing_is_read(serve, engine, name) -> None:
    engine(name)
    server = serve("--audit", "/dev/full")
    answer = server.get(f"/api/v1/tap/{name}?limit=1")
    assert answer.status == 503
    assert "audit" in answer.json["error"]
    assert sessions(name) == 0


def test_a_token_that_is_taken_away_ends_its_streams(serve, engine, name, tokens) -> None:
    engine(name)
    server = serve("--tokens", str(tokens))
    with server.open(f"/api/v1/tap/{name}", token=READ) as response:
        assert response.readline()
        new = tokens.with_suffix(".new")
        new.write_text(f"owner read-raw {RAW}\n")
        new.chmod(0o600)
        os.replace(new, tokens)
        error, summary = map(json.loads, response.read().splitlines()[-2:])
    assert "not known" in error["tapring_error"]["error"]
    assert summary["tapring_summary"]["ended_by"] == "closed"


@pytest.mark.parametrize("now", ["owner read", "other read-raw"])
def test_a_token_whose_role_or_name_changes_ends_its_streams(
    serve, engine, name, tokens, now
) -> None:
    engine(name)
    server = serve("--tokens", str(tokens), "--redact", "user.email")
    with server.open(f"/api/v1/tap/{name}", token=RAW) as response:
        assert b"example.org" in response.readline()
        new = tokens.with_suffix(".new")
        new.write_text(f"{now} {RAW}\n")
        new.chmod(0o600)
        os.replace(new, tokens)
        error = json.loads(response.read().splitlines()[-2])
    assert "role" in error["tapring_error"]["error"]


def test_two_tokens_in_one_request_are_refused(serve) -> None:
    server = serve()
    head = "GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {server.token}\r\n"
    with socket.create_connection((server.host, server.port), timeout=30) as sock:
        sock.sendall(f"{head}Authorization: Bearer x\r\n\r\n".encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 400")


def test_there_are_so_many_streams_and_so_many_of_each_token(serve, engine, name, tokens) -> None:
    engine(name, pause_s=0.1)
    server = serve("--tokens", str(tokens), "--max-streams", "3", "--max-streams-per-token", "2")
    path = f"/api/v1/tap/{name}"
    with server.open(path, token=READ), server.open(path, token=READ):
        wait_until(lambda: sessions(name) == 2)
        refused = server.get(path, token=READ)
        assert refused.status == 409
        assert "--max-streams-per-token" in refused.json["error"]
        with server.open(path, token=RAW):
            wait_until(lambda: sessions(name) == 3)
            assert server.get(path, token=RAW).status == 409
    wait_until(lambda: server.get(f"{path}?limit=1", token=READ).status == 200)


def test_an_engine_that_is_full_or_not_there_is_an_error_with_its_status(serve, name) -> None:
    server = serve()
    assert server.get(f"/api/v1/tap/{name}").status == 404
    with tapring.Tap(name, max_sessions=1, max_duration=5) as tap, tapring.capture(name):
        assert server.get(f"/api/v1/tap/{name}").status == 409
        assert server.get(f"/api/v1/tap/{name}?stage=nostage").status == 404
        assert tap.name == name
    with tapring.Tap(name, max_duration=5):
        assert server.get(f"/api/v1/tap/{name}?last=10s").status == 404
        assert server.get(f"/api/v1/tap/{name}?duration=10s").status == 400
    assert server.get(f"/api/v1/tap/{name}?duration=25h").status == 400


@pytest.mark.parametrize(
    "query",
    [
        "stage=",
        "stage=A%20B",
        "duration=0",
        "duration=-1",
        "duration=1e9",
        "duration=nan",
        "limit=0",
        "limit=1.5",
        "limit=" + "9" * 400,
        "last=now",
        "grep=(",
        "grep=%00",
        "where=a%3D",
        "where=f(",
        "fields=",
        "fields=a..b",
        "sample=0",
        "by=x",
        "rate=fast",
        "redact=",
        "redact=a..b",
        "redact_regex=(",
        "redact_in_strings=1",
        "envelope=maybe",
        "format=xml",
        "limit=1&limit=2",
        "stge=raw",
        "where=" + "x" * 5000,
        "grep=%ff",
        "limit=%C2%B2",
    ],
)
def test_a_malformed_parameter_is_refused_with_a_hint(serve_once, engine_once, query) -> None:
    for path in (f"/api/v1/tap/{engine_once}", "/api/v1/check"):
        answer = serve_once.get(f"{path}?{query}")
        assert answer.status == 400, answer.body
        assert set(answer.json) == {"error", "hint"}
        assert answer.json["error"]
    assert sessions(engine_once) == 0


@pytest.mark.parametrize(
    "query",
    [
        "where=" + "a.a" * 300,
        "where=" + "a|" * 500 + "a",
        "grep=" + "(" * 500 + ")" * 500,
        "grep=" + "(%3F:" * 190 + "a" + ")%2B" * 190,
        "grep=a{99999999999}",
        "fields=" + "a." * 500 + "a",
        "redact=" + "*." * 500 + "a",
        "rate=" + "9" * 900,
        "rate=1e308/s",
        "sample=" + "0" * 900 + "1",
    ],
)
def test_parameters_that_are_deep_or_large_are_taken_or_refused(serve_once, query) -> None:
    answer = serve_once.get(f"/api/v1/check?{query}")
    assert answer.status in (200, 400), answer.body


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a%2Fb",
        "..",
        "%00",
        "A",
        "é",
        "shop:7",
        "shop.zz",
        "x" * 99,
        "%2e%2e%2fx",
        "*:1",
        "%C2%B2",
    ],
)
def test_an_address_that_is_none_is_refused(serve_once, address) -> None:
    answer = serve_once.get(f"/api/v1/tap/{quote(address, safe='%')}")
    assert answer.status in (400, 404)
    assert set(answer.json) == {"error", "hint"}


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A server and an engine that these tests share: they change neither."""
    from .serving import start

    pytest.importorskip("uvicorn", reason="needs the extra serve")
    server = start(tmp_path_factory.mktemp("once"))
    name = unique_name()
    with tapring.Tap(name):
        yield server, name
    server.process.terminate()
    assert server.process.wait(timeout=20) == 0


@pytest.fixture
def serve_once(once):
    return once[0]


@pytest.fixture
def engine_once(once):
    return once[1]
