"""tapring's own consumer as a reader that the kit can check: prints a session's events."""

from __future__ import annotations

import signal
import sys

import tapring


def main(arguments: list[str]) -> int:
    """Read the session of an address to its end."""
    delivery = "at-least-once" if arguments[0] == "--at-least-once" else "at-most-once"
    try:
        with tapring.attach_session(arguments[-1], delivery=delivery) as session:
            for frame in session.frames():
                sys.stdout.buffer.write(_printed(frame))
                sys.stdout.buffer.flush()
    except tapring.TapError as error:
        print(f"consumer: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _printed(frame: tapring.Frame) -> bytes:
    if frame.kind.name in ("lines", "json"):
        return bytes(frame.payload)
    events, _ = frame.kind.unpack(frame.payload, frame.count)
    if frame.kind.name == "array":
        events = [record.tobytes() for records in events for record in records]
    return b"".join(event.hex().encode() + b"\n" for event in events)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
