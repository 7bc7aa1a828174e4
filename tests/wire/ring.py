"""A Writer and a Reader over one bytearray, for tests of either end."""

from tapring.events.kinds import Blobs, Lines
from tapring.wire import layout
from tapring.wire.geometry import Buffers, Shape
from tapring.wire.reader import Reader
from tapring.wire.writer import Writer

LINES, BLOBS = Lines(), Blobs()


class Ring:
    """A Writer and a Reader over one bytearray."""

    def __init__(self, slots: int = 8, slot_bytes: int = 64, kind=LINES, barrier=None) -> None:
        self.buffer = bytearray(layout.ring_bytes(slots, slot_bytes))
        self.buffers = Buffers.of(self.buffer)
        self.words, self.page = self.buffers.words, self.buffers.page
        self.kind = kind
        self.shape = Shape(slots, slot_bytes, 0, kind.code, kind)
        self.barrier = barrier
        self.sequence = 0  # of the events that could be serialized
        self.writer = Writer(self.buffers, self.shape, barrier)
        self.reader = self.new_reader()

    def new_reader(self) -> Reader:
        return Reader(self.buffers, self.shape, self.barrier)

    def offer(self, batch: list[bytes], time_ns: int = 1) -> None:
        payload, count, errors = self.kind.pack(batch)
        if errors:
            self.writer.fail(errors)
        if self.writer.at[0] >= self.writer.limit and not self.writer.look_again():
            self.writer.drop(count)
        elif count:
            self.writer.publish(payload, count, time_ns, self.sequence)
        self.sequence += count

    def take(self) -> list[bytes] | None:
        taken = self.reader.take()
        return None if taken is None else self.kind.unpack(taken.payload, taken.count)[0]

    def drain(self) -> list[bytes]:
        found: list[bytes] = []
        while (events := self.take()) is not None:
            found += events
        return found
