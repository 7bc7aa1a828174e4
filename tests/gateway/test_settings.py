"""Settings: what a server shows, and what it hides from whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapring.gateway.access import Role
from tapring.gateway.settings import Hidden, Settings
from tapring.shm.names import matches

PATTERNS = ["web-*", "shop", "*", "w?b", "[ab]c"]
ADDRESSES = ["web-1", "shop", "web-*", "*", "s*", "ac", "wab", "shopx", "w?b"]


@given(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3), st.sampled_from(ADDRESSES))
def test_an_address_reads_no_engine_that_is_not_allowed(allow, address) -> None:
    settings = Settings(allow=tuple(allow))
    if settings.allows(address):
        for engine in ("web-1", "shop", "ac", "wab", "other", "web-", "s"):
            if matches(engine, address):
                assert settings.allows(engine)


def test_without_a_list_all_are_allowed() -> None:
    assert Settings().allows("shop")
    assert Settings().allows("web-*")


@pytest.mark.parametrize("hidden", [Hidden(paths=("a",)), Hidden(regex="x"), Hidden()])
def test_only_read_raw_sees_what_is_hidden(hidden) -> None:
    for role in Role:
        redactor = hidden.redactor(role)
        assert (redactor is None) == (role == Role.READ_RAW or hidden == Hidden())
        assert bool(hidden.described(role)) == (redactor is not None)


def test_tokens_of_two_readers_cannot_be_linked() -> None:
    hidden = Hidden(paths=("a",))
    first, second = (hidden.redactor(Role.READ) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.token("x") != second.token("x")
