"""Tokens: who may do what, and that nothing but a whole, valid file lets anybody in."""

from __future__ import annotations

import os
import time

import pytest

from tapring.gateway.access import Access, Grant, Role, TokenFileError
from tapring.gateway.problem import Problem

ALICE = "a" * 32
BOB = "b" * 32


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens"


def write(path, text: str, mode: int = 0o600) -> str:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(mode)
    os.replace(new, path)
    return str(path)


def refused(access: Access, token: str | None) -> int:
    with pytest.raises(Problem) as caught:
        access.grant(token)
    return caught.value.status


def test_each_token_has_a_name_and_a_role(path) -> None:
    access = Access(write(path, f"# us\nalice read {ALICE}\n\nbob read-raw {BOB} # all of it\n"))
    assert access.grant(ALICE) == Grant("alice", Role.READ)
    assert access.grant(BOB) == Grant("bob", Role.READ_RAW)
    assert Role.LS < Role.READ < Role.READ_RAW
    assert access.token is None


@pytest.mark.parametrize(
    "token",
    [None, "", "a", ALICE[:-1], ALICE + "a", ALICE.upper(), " " + ALICE, "é" * 32, "a" * 513],
)
def test_what_is_not_exactly_a_token_is_refused_with_a_challenge(path, token) -> None:
    access = Access(write(path, f"alice read {ALICE}\n"))
    with pytest.raises(Problem) as caught:
        access.grant(token)
    assert caught.value.status == 401
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")


def test_without_a_file_it_makes_a_token_that_nobody_guesses() -> None:
    tokens = {Access().token for _ in range(50)}
    assert len(tokens) == 50
    assert all(token is not None and len(token) >= 40 for token in tokens)
    access = Access()
    assert access.grant(access.token).role == Role.READ_RAW


def test_a_token_expires(path) -> None:
    text = f"alice read {ALICE} 2020-01-01\nbob read {BOB} 2999-01-01T00:00+02:00\n"
    access = Access(write(path, text))
    assert refused(access, ALICE) == 401
    assert access.grant(BOB).name == "bob"


def test_a_changed_file_counts_at_once(path) -> None:
    access = Access(write(path, f"alice read {ALICE}\n"))
    assert access.grant(ALICE)
    write(path, f"bob read {BOB}\n")
    assert refused(access, ALICE) == 401
    assert access.grant(BOB)


@pytest.mark.parametrize(
    "what", ["gone", "open to others", "malformed", "empty", "a directory", "a FIFO", "huge"]
)
def test_while_the_file_cannot_be_used_nobody_gets_in(path, what) -> None:
    access = Access(write(path, f"alice read {ALICE}\n"))
    if what == "open to others":
        write(path, f"alice read {ALICE}\n", 0o644)
    elif what == "malformed":
        write(path, f"alice {ALICE}\n")
    elif what == "empty":
        write(path, "")
    elif what == "huge":
        write(path, f"alice read {ALICE}\n" + "#" * (1 << 20))
    else:
        path.unlink()
        if what == "a directory":
            path.mkdir()
        elif what == "a FIFO":
            os.mkfifo(path, 0o600)
    assert refused(access, ALICE) == 503
    if what == "a directory":
        path.rmdir()
    write(path, f"alice read {ALICE}\n")
    assert access.grant(ALICE).name == "alice"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"alice admin {ALICE}", "malformed"),
        (f"al/ice read {ALICE}", "malformed"),
        (f"alice read {ALICE} x y", "malformed"),
        ("alice read short", "shorter"),
        (f"alice read {ALICE}\nbob read {ALICE}", "twice"),
        (f"alice read {ALICE} soon", "no time"),
        ("", "no token"),
        ("\xff", "no token"),
    ],
)
def test_a_wrong_file_is_refused_at_the_start_and_no_token_is_quoted(path, text, why) -> None:
    if text == "\xff":
        path.write_bytes(b"\xff\xfe")
        path.chmod(0o600)
        why = "UTF-8"
    else:
        write(path, text + "\n")
    with pytest.raises(TokenFileError, match=why) as caught:
        Access(str(path))
    assert ALICE not in str(caught.value)


def test_tokens_of_every_kind_take_the_same_time_within_the_noise(path) -> None:
    """They are compared as digests, by compare_digest; all of them, also behind a match."""
    others = "".join(f"u{n} read {n:032d}\n" for n in range(50))
    access = Access(write(path, f"alice read {ALICE}\n{others}"))

    def seconds(token: str) -> float:
        best = 1.0
        for _ in range(200):
            began = time.perf_counter()
            access.grant(token)
            best = min(best, time.perf_counter() - began)
        return best

    first, last = seconds(ALICE), seconds(f"{49:032d}")
    assert max(first, last) < 3 * min(first, last)
