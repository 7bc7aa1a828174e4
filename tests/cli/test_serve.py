"""``tapring serve`` on the command line: what it refuses before it listens."""

from __future__ import annotations

import pytest

TOKEN = "a" * 32


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        (["--listen", "0.0.0.0:8700"], 2, b"--tls"),
        (["--listen", "nowhere:x"], 2, b"Invalid address"),
        (["--listen", "127.0.0.1:99999"], 2, b"Invalid address"),
        (["--uds", "/tmp/s", "--listen", "8700"], 2, b"--uds"),
        (["--tls-key", "k"], 2, b"--tls"),
        (["--allow", "A"], 2, b"--allow"),
        (["--allow", "shop.0a0a0a0a"], 2, b"name an engine"),
        (["--redact-in-strings"], 2, b"--redact password"),
        (["--buffer", "1k"], 2, b"8KiB"),
        (["--tokens", "/none/here"], 3, b"cannot be read"),
        (["--audit", "/none/here"], 3, b"/none/here"),
        (["--tls", "/none/here"], 3, b"/none/here"),
        (["--max-streams", "0"], 2, b"at least 1"),
        (["--tokns", "x"], 2, b"--tokens"),
        (["--redact", ""], 2, b"empty"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(run_cli, args, code, why) -> None:
    result = run_cli("serve", *args)
    assert result.returncode == code
    assert why in result.stderr
    assert result.stderr.startswith(b"tapring: error:")
    assert result.stderr.count(b"\n") == 1


def test_an_address_that_is_taken_is_said(serve, run_cli) -> None:
    server = serve()
    result = run_cli("serve", "--listen", f"127.0.0.1:{server.port}")
    assert result.returncode == 3
    assert b"cannot listen on 127.0.0.1" in result.stderr


def test_the_token_that_it_makes_is_shown_once_in_a_url(serve) -> None:
    server = serve()
    said = server.log.read_text()
    assert f"http://127.0.0.1:{server.port}/#token={server.token}" in said
    assert said.count(server.token) == 1
    assert "nothing is redacted" in said


def test_with_tokens_from_a_file_none_is_shown(serve, tmp_path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"alice read {TOKEN}\n")
    path.chmod(0o600)
    server = serve("--tokens", str(path), "--redact", "user.email")
    assert TOKEN not in server.log.read_text()
    assert server.get("/api/v1/whoami", token=TOKEN).json["redacted"] == ["user.email"]
