"""What stands before every route: a browser is no way in, and no request has two meanings."""

from __future__ import annotations

import socket

import pytest

from .serving import Served

OTHER_ORIGINS = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "file://"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
PATHS = ["/", "/page/page.js", "/api/v1/engines", "/api/v1/tap/shop", "/healthz"]


@pytest.fixture
def server(serve) -> Served:
    return serve()


@pytest.mark.parametrize("path", PATHS)
def test_a_request_under_another_name_is_refused(server, path) -> None:
    """A name that resolves to 127.0.0.1 would let any page in: DNS rebinding."""
    for host in (
        "evil.example",
        f"evil.example:{server.port}",
        "127.0.0.1.evil.example",
        "",
        "[::",
    ):
        answer = server.get(path, {"Host": host})
        assert answer.status in (400, 421), host
        assert "engines" not in answer.body.decode()


@pytest.mark.parametrize("headers", OTHER_ORIGINS, ids=str)
def test_a_page_of_another_origin_may_not_ask(server, headers) -> None:
    assert server.get("/api/v1/engines", headers).status == 403
    for method in ("POST", "OPTIONS"):
        answer = server.get("/api/v1/dump/shop", headers, method=method)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_link_on_another_page_opens_the_page_and_nothing_else(server) -> None:
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert server.get("/", link).status == 200
    assert server.get("/api/v1/engines", link).status == 403
    assert server.get("/page/page.js", link).status == 403
    assert server.get("/", link, method="POST").status == 403
    assert server.get("/", {**link, "Origin": "http://evil.example"}).status == 403
    for changed in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors"}):
        assert server.get("/", link | changed).status == 403


def test_behind_a_request_with_two_lengths_nothing_is_read(server) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"POST /api/v1/dump/shop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
    with socket.create_connection((server.host, server.port), timeout=30) as sock:
        sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled)
        answer = b""
        while part := sock.recv(4096):
            answer += part
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400")


def test_its_own_page_may(server) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.get("/api/v1/engines", own).status == 200
    assert server.get("/api/v1/engines", {"Host": "localhost"}).status == 200
    assert server.get("/api/v1/engines", {"Host": f"[::1]:{server.port}"}).status == 200


def test_a_host_name_that_was_given_is_known(serve) -> None:
    server = serve("--host-name", "Taps.example.org")
    assert server.get("/healthz", {"Host": "taps.example.org"}).status == 200
    assert server.get("/healthz", {"Host": "other.example.org"}).status == 421


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_security_headers(server, path) -> None:
    headers = {name.lower(): value for name, value in server.get(path).headers.items()}
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_errors_are_json_with_a_hint(server) -> None:
    for path, status in (("/api/v2", 404), ("/api/v1/tap/none-here", 404), ("/api/v1/tap/:", 400)):
        answer = server.get(path)
        assert answer.status == status
        assert set(answer.json) == {"error", "hint"}


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /api/v1/engines HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nOrigin: null\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n",
        (
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n"
        ),
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 9\r\n",
        b"GET /healthz HTTP/1.1\r\n Host: localhost\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    ],
    ids=range(10),
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(server, request_line) -> None:
    """What follows it must not be taken for a request of its own: request smuggling."""
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = server.raw(request_line + b"Connection: close\r\n\r\n" + smuggled)
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "FOO"])
def test_other_methods_are_refused(server, method) -> None:
    assert server.get("/healthz", method=method).status in (400, 405)


def test_head_range_and_expect_and_http_1_0(server, engine, name) -> None:
    engine(name)
    head = server.get("/api/v1/engines", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert server.get(f"/api/v1/tap/{name}", method="HEAD").status == 405
    assert server.get("/healthz", {"Range": "bytes=0-0"}).body == b"ok\n"
    assert server.get("/healthz", {"Expect": "100-continue"}).status == 200
    token = server.token.encode()
    old = server.raw(
        b"GET /api/v1/tap/%b?limit=3 HTTP/1.0\r\nHost: localhost\r\n"
        b"Authorization: Bearer %b\r\n\r\n" % (name.encode(), token)
    )
    head_, _, body = old.partition(b"\r\n\r\n")
    assert b"chunked" not in head_
    assert body.count(b"\n") == 4
