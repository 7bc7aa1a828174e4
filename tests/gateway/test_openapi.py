"""The document is true: schemathesis asks what it says, and gets what it says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tapring.gateway import query
from tapring.gateway.openapi import document


def parameters(path: str, method: str) -> set[str]:
    operation = document()["paths"][path][method]
    return {each["name"] for each in operation["parameters"] if each["in"] == "query"}


def test_it_lists_every_parameter_and_no_other() -> None:
    assert parameters("/api/v1/tap/{address}", "get") == set(query._LIVE)
    assert parameters("/api/v1/check", "get") == set(query._LIVE)
    assert parameters("/api/v1/dump/{address}", "post") == set(query._DUMP)


def test_it_is_served_without_a_token_and_is_json(serve) -> None:
    answer = serve().get("/api/v1/openapi.json", token="")
    assert answer.status == 200
    assert answer.json == json.loads(json.dumps(document()))


def test_every_route_is_in_it(serve) -> None:
    server = serve()
    for path, operations in document()["paths"].items():
        url = path.replace("{name}", "none").replace("{address}", "none")
        for method in operations:
            answer = server.get(url, method=method.upper())
            assert b"there is nothing at this URL" not in answer.body, path


def test_what_schemathesis_makes_of_it_is_answered_as_it_says(
    serve, engine, name, tmp_path
) -> None:
    pytest.importorskip("schemathesis")
    engine(name, pause_s=0.1)
    server = serve("--max-duration", "100ms")
    url = f"http://127.0.0.1:{server.port}/api/v1/openapi.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", url]
    command += ["--header", f"Authorization: Bearer {server.token}", "--max-examples", "15"]
    command += ["--phases", "examples,coverage,fuzzing", "--seed", "7", "--request-timeout", "20"]
    command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"]
    command += ["--checks", "response_schema_conformance,ignored_auth"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=110, check=False)
    assert result.returncode == 0, result.stdout.decode()[-5000:]
