"""What a server lists becomes what ``ls`` shows, or an error in words."""

import msgspec
import pytest

import tapring
from tapring.cli import remote_looks
from tapring.shm.listed import listed
from tapring.shm.looks import Looking


def test_what_is_listed_comes_back_whole(name) -> None:
    with tapring.Tap(name, recorder=None, stages={"audit": "bytes"}) as tap, tapring.capture(name):
        tap.snapshot()
        here = Looking(name).look(lambda: None)
        told = listed(here.lanes, here.rates, here.children)
        there = remote_looks._looked(msgspec.json.decode(msgspec.json.encode(told)))
        assert listed(there.lanes, there.rates, there.children) == told


@pytest.mark.parametrize("told", [{}, [1], [{"name": "shop"}], None])
def test_what_no_server_of_ours_says_is_refused(told) -> None:
    with pytest.raises(msgspec.ValidationError):
        remote_looks._looked(told)
