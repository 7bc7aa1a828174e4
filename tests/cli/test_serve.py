"""``tapring serve`` on the command line: what it refuses before it listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapring.cli.serve import HostName, _has_an_open_bracket
from tests.conftest import wait_until
from tests.gateway.test_asking import certificate

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
        (["--buffer", "1TB"], 2, b"4095MiB"),
        (["--max-duration", "0"], 2, b"Try 30s, 1h"),
        (["--listen", "http://127.0.0.1:8790"], 2, b"Invalid address"),
        (["--listen", "a b:8790"], 2, b"Invalid address"),
        (["--listen", f"127.0.0.1:{'9' * 5000}"], 2, b"Invalid address"),
        (["--host-name", "http://x.example"], 2, b"taps.example.org"),
        (["--host-name", "x.example:443"], 2, b"taps.example.org"),
        (["--host-name", "a b"], 2, b"taps.example.org"),
        (["--host-name", "*.example.org"], 2, b"taps.example.org"),
        (["--host-name", ""], 2, b"empty"),
        (["--allow", "[ab"], 2, b"[ needs a ]"),
        (["--allow", "web-[ab]-[c"], 2, b"[ needs a ]"),
        (["--listen", "192.0.2.1:0", "--insecure"], 3, b"an address of this machine"),
        (["--uds", "/none/here/s"], 3, b"mkdir -p /none/here"),
        (["--uds", "/tmp"], 3, b"--uds /tmp/tapring.sock"),
        (["--uds", __file__], 3, b"a file is there"),
        (["--uds", "/tmp/" + "s" * 200], 3, b"Try another --uds"),
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
    assert b"Try another port" in result.stderr


def test_a_socket_where_a_server_listens_is_said(serve, run_cli, tmp_path) -> None:
    path = str(tmp_path / "socket")
    serve("--uds", path)
    result = run_cli("serve", "--uds", path)
    assert result.returncode == 3
    assert b"another server listens there" in result.stderr
    assert b"Try another --uds" in result.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tls": "nonsense"}, ["tls"]),
        ({"tls": "own", "tls-key": "nonsense"}, ["tls", "tls-key"]),
        ({"tls": "own", "tls-key": "other"}, ["tls", "tls-key"]),
        ({"tls": "own", "tls-client-ca": "nonsense"}, ["tls-client-ca"]),
    ],
)
def test_files_of_tls_that_cannot_be_used_are_named(run_cli, tmp_path, options, named) -> None:
    args = []
    for option, what in options.items():
        path = tmp_path / option
        if what == "nonsense":
            path.write_text("no PEM")
        else:
            Path(certificate(tmp_path, what)).rename(path)
        args += [f"--{option}", str(path)]
    result = run_cli("serve", "--listen", "127.0.0.1:0", *args)
    said = result.stderr.decode()
    assert result.returncode == 3
    assert [each for each in options if str(tmp_path / each) + " " in said] == named
    assert f"--{named[-1]}" in said
    assert "_ssl.c" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["x.example", "X-1.example.", "192.0.2.1", "::1", "a_b"])
def test_a_name_or_an_address_is_a_host_name(name) -> None:
    assert HostName().convert(name, None, None) == name


@pytest.mark.parametrize("pattern", ["web-*", "[ab]", "[!a]*", "[]a]", "a?"])
def test_a_pattern_whose_brackets_are_closed_is_one(pattern) -> None:
    assert not _has_an_open_bracket(pattern)


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
    assert "nothing is redacted" not in server.log.read_text()
    assert server.get("/api/v1/whoami", token=TOKEN).json["redacted"] == ["user.email"]


def test_with_tokens_from_a_file_it_says_what_is_not_redacted(serve, tmp_path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"alice read {TOKEN}\n")
    path.chmod(0o600)
    server = serve("--tokens", str(path))
    said = "nothing is redacted: tokens with the role read get events as they are"
    wait_until(lambda: said in server.log.read_text())
