"""What was sent is counted as a sink counts it."""

from tapring.events.kinds import Json
from tapring.frame import Frame, Origin
from tapring.gateway.sent import Sent


def test_events_are_counted_and_nothing_else_is_there() -> None:
    sent = Sent("ndjson")
    for count in (3, 0, 2):
        sent.write(Frame(b"{}\n" * count, count, 0, 0, Origin(), Json()))
        sent.tick()
        sent.flush()
    sent.close()
    assert (sent.events, sent.bytes, sent.files, sent.changed) == (5, 0, [], {})
    assert sent.rotated_out.removed.files == 0
