"""What a session says of its lanes: each once, whatever the number of stages."""

import tapring


def test_lanes_and_stages_are_named_once_and_sessions_each(name) -> None:
    with tapring.Tap(name) as tap, tapring.Tap(name) as other:
        with tapring.capture(name, stage="*") as session:
            assert set(session.lanes) == {tap.lane, other.lane}
            assert len(session.lanes) == 2
            assert session.stages == ("raw", "decoded")
            assert len(session.addresses) == len(set(session.addresses)) == len(session.ids) == 4
            assert session.id == session.ids[0]
            assert session.unknown_clocks == ()
        ended = {(each.lane, each.stage) for each in session.lanes_ended}
        assert ended == set()
