"""Short answers, over HTTP: JSON with its type, and every error in the same form."""

from __future__ import annotations

import pytest


@pytest.fixture
def server(serve):
    return serve()


def test_json_says_that_it_is(server) -> None:
    answer = server.get("/api/v1/engines")
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json, list)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/api/v1/engines/", "GET", 404),
        ("/page/..%2fapp.py", "GET", 404),
        ("/page/none.js", "GET", 404),
        ("/api/v1/engines", "POST", 405),
        ("/api/v1/dump/shop", "GET", 405),
    ],
)
def test_an_error_has_its_status_a_reason_and_a_hint(server, path, method, status) -> None:
    answer = server.get(path, method=method)
    assert answer.status == status
    assert set(answer.json) == {"error", "hint"}
    if status == 405:
        assert answer.headers["allow"]


def test_head_has_the_head_alone(server) -> None:
    answer = server.get("/nothing", method="HEAD")
    assert (answer.status, answer.body) == (404, b"")
