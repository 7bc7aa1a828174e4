"""Every byte that two processes share: offsets, units, owners. The protocol on one page.

Nothing else lives here, and no such number stands anywhere else. All words are unsigned 64-bit
numbers in native byte order at 8-byte alignment: writer and reader share a machine. Each block has
one owner, which is the only one to write it. Blocks of different owners lie on different pages.
Blocks of one owner that change at different rates lie at least 128 bytes apart, which is two cache
lines (adjacent-line prefetch; Agrona and Folly use the same distance).

A new segment's magic word is 0. Its creator writes the magic last. What is not named here is 0, and
later minor versions may use it. ::

    REGISTRY  tapring.ENGINE.LANE                              written by
    +--------+----------------------------------------------+
    | page 0 | magic format bytes epoch features            |  engine, once
    |        | rows info_bytes                              |
    |        | monotonic_ns wall_ns pid offset_ns           |
    |   +512 | state faults misuse                          |  engine
    |   +768 | idle_ns batch_ns share_ppm budget_ppm        |  engine
    |  +1024 | verdict[row]: id << 8 | Verdict              |  engine
    +--------+----------------------------------------------+
    | page 1 | generation next_id denied[30]                |  holder of the table's mutex
    |   +256 | row 0: state id epoch stage ...              |  holder of the table's mutex
    |   +384 | row 1 ...                                    |
    +--------+----------------------------------------------+
    | info   | JSON: engine, lane, stages, limits           |  engine, once
    +--------+----------------------------------------------+

    RING  tapring.ENGINE.LANE.ID
    +--------+----------------------------------------------+
    | page 0 | magic format bytes epoch features            |  creator of the session, once
    |        | id slots slot_bytes                          |
    |   +256 | tail                                         |  producer
    |   +384 | captured                                     |  producer
    |   +512 | dropped oversize errors ended sampled_out    |  producer
    |        | shed                                         |
    |   +640 | cost_ns served_ppm                           |  producer
    |   +768 | overtake overwritten                         |  producer
    +--------+----------------------------------------------+
    | page 1 | head                                         |  consumer
    |   +128 | released abandoned missed gaps               |  consumer
    |   +256 | waiting                                      |  consumer
    +--------+----------------------------------------------+
    | page 2 | slot 0 | slot 1 | ...                        |  producer
    +--------+----------------------------------------------+

    FRAME  starts at a slot boundary, fills slots_for(length) slots, wraps at the last slot
    0   8       16      24       32       40     44    48    50   52    56
    +---+-------+-------+--------+--------+------+-----+-----+----+-----+--------
    |pos|time_ns|offered|captured|sequence|length|count|stage|kind|flags|payload
    +---+-------+-------+--------+--------+------+-----+-----+----+-----+--------

``pos``      the slot position of this frame. A reader that finds another number is lost.
``time_ns``  the engine's CLOCK_MONOTONIC when it took the batch's snapshot.
``offered``  events offered to this session before this frame, delivered or not.
``captured`` events in the frames before this one; ``RELEASED`` minus it are released of this one.
``sequence`` number of the first event in its stage, the same for all sessions; it may jump.
``length``   payload bytes; ``count`` events in it; ``flags`` is 0.

    REQUEST  tapring.~EPOCH
    +--------+----------------------------------------------+
    | page 0 | magic format bytes epoch features            |  consumer, once
    |        | info_bytes                                   |
    +--------+----------------------------------------------+
    | page 1 | JSON: engines, stages, limits                |  consumer, once
    +--------+----------------------------------------------+

A REQUEST stands for as long as its consumer holds its lock. A lane that starts opens a session for
each request that speaks of it, before it offers its first batch.

    RECORDING  tapring.ENGINE.LANE.~STAGE
    +--------+----------------------------------------------+
    | page 0 | magic format bytes epoch features            |  engine, once
    |        | id slots slot_bytes                          |  id is 0
    |        | stage info_bytes pid offset_ns               |
    |        | keep_lanes keep_bytes                        |
    |   +128 | active_ns                                    |  engine
    |   +256 | as in a RING                                 |  producer
    +--------+----------------------------------------------+
    | page 1 | clocks; since_ns to_wall_ns, 255 times       |  engine
    +--------+----------------------------------------------+
    | page 2 | slot 0 | slot 1 | ...                        |  producer
    +--------+----------------------------------------------+
    | info   | JSON, as in the REGISTRY                     |  engine, once
    +--------+----------------------------------------------+

A RECORDING is a ring that is overwritten, and outlives its engine: it says all that it takes to
read it. ``~triggers`` stands for a stage in the name of the recording of triggers, and the number
behind that of the last stage in its word.

A DOORBELL is a POSIX semaphore ``tapring.ENGINE.LANE.ID`` (the file ``sem.NAME``). The consumer of
that session makes it. It may wait for several sessions with one doorbell, so each row names the
doorbell to post.

Byte ranges of the registry's descriptor carry open-file-description locks. Their offsets are the
``LOCK_`` constants; a locked byte does not have to exist.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

MAJOR: Final = 5  # another one: nothing but MAGIC and FORMAT keeps its place
MINOR: Final = 3  # a later one only adds
FEATURES_KNOWN: Final = 0  # bits of FEATURES that are defined
PAGE: Final = 4096
WORD: Final = 8
MAX_WORD: Final = (1 << 64) - 1

REGISTRY_MAGIC: Final = int.from_bytes(b"tapring\x01", "little")
RING_MAGIC: Final = int.from_bytes(b"tapring\x02", "little")
REQUEST_MAGIC: Final = int.from_bytes(b"tapring\x03", "little")
RECORDING_MAGIC: Final = int.from_bytes(b"tapring\x04", "little")

NAME_PREFIX: Final = "tapring"
REQUEST_PREFIX: Final = "~"  # stands where an engine's name does, and in none of those
RECORDING_PREFIX: Final = "~"  # stands before a stage's name; no session's id begins so
TRIGGERS: Final = "~triggers"  # in place of a stage: what Tap.trigger was told
SEMAPHORE_PREFIX: Final = "sem."  # the C library puts it before the name of a semaphore's file
ENGINE_PATTERN: Final = r"[a-z0-9][a-z0-9_-]{0,62}"
LANE_PATTERN: Final = r"[0-9a-f]{8}"

# ---- words that open every segment (indices of 8-byte words) -------------------------------
MAGIC: Final = 0
FORMAT: Final = 1  # MINOR << MINOR_SHIFT | MAJOR
MINOR_SHIFT: Final = 32
SEGMENT_BYTES: Final = 2
EPOCH: Final = 3  # random; the epoch of a ring also stands in its row
FEATURES: Final = 4  # bits, each of which a reader has to know

# ---- registry, page 0: the engine's --------------------------------------------------------
ROWS: Final = 5
INFO_BYTES: Final = 6
CLOCK_MONOTONIC_NS: Final = 7  # read together with the next word: converts a frame's time
CLOCK_WALL_NS: Final = 8
PID: Final = 9  # for people; never used to decide anything
CLOCK_OFFSET_NS: Final = 10  # engine's time namespace: CLOCK_OFFSET_ZERO + its offset; 0: unknown
CLOCK_OFFSET_ZERO: Final = 1 << 63  # CLOCK_MONOTONIC as in the initial time namespace
CLOCK_OFFSET_LIMIT: Final = 1 << 62  # offsets are smaller, either way
_ENGINE_LIVE: Final = 512 // WORD
ENGINE_STATE: Final = _ENGINE_LIVE  # EngineState
FAULTS: Final = _ENGINE_LIVE + 1  # sessions evicted or refused because of what they held
MISUSE: Final = _ENGINE_LIVE + 2  # offers to unknown stages, or of anything that is not a batch
PPM: Final = 1_000_000  # shares are in millionths
_COST: Final = 768 // WORD
COST_IDLE_NS: Final = _COST  # of a batch while no session is open
COST_BATCH_NS: Final = _COST + 1  # of a batch's offers, to all stages
COST_SHARE_PPM: Final = _COST + 2  # of the engine's time, in millionths
BUDGET_PPM: Final = _COST + 3  # what sessions may cost of it; 0: no limit
_VERDICTS: Final = 1024 // WORD
VERDICT_ID_SHIFT: Final = 8
VERDICT_MASK: Final = (1 << VERDICT_ID_SHIFT) - 1

# ---- registry, page 1 and on: the mutex holder's -------------------------------------------
TABLE: Final = PAGE // WORD
GENERATION: Final = TABLE  # odd while a row is being changed
NEXT_ID: Final = TABLE + 1
DENIED: Final = TABLE + 2  # since 5.1: epochs of requests that the lane could not grant; 0: none
MAX_DENIED: Final = 30
_FIRST_ROW: Final = TABLE + 256 // WORD
ROW_BYTES: Final = 128
ROW_WORDS: Final = ROW_BYTES // WORD
ROW_STATE: Final = 0  # RowState, written last
ROW_ID: Final = 1
ROW_EPOCH: Final = 2
ROW_STAGE: Final = 3  # index into the info block's stages
ROW_SLOTS: Final = 4
ROW_SLOT_BYTES: Final = 5
ROW_OWNER: Final = 6  # Owner
ROW_OPENED_NS: Final = 7  # the engine's CLOCK_MONOTONIC
ROW_DURATION_NS: Final = 8  # 0: as long as the engine allows
ROW_PID: Final = 9  # the process that registered it; for people
ROW_SAMPLE: Final = 10  # one batch in so many is offered; 0 and 1: every batch
ROW_BELL_LANE: Final = 11  # the doorbell to post: the lane of its session, as a number
ROW_BELL_ID: Final = 12  # the id of its session; 0: there is no doorbell
ROW_BELL_EPOCH: Final = 13  # random: each new doorbell has another one
ROW_REQUEST: Final = 14  # since 5.1: the epoch of the request that it was opened for; else 0
MAX_ID: Final = 1 << 55  # a verdict holds an id and 8 more bits
MAX_INFO_BYTES: Final = 1 << 20
MAX_ROWS: Final = 64  # the verdicts and rows of 64 sessions fill their pages
TAKE_UP_NS: Final = 2_000_000  # every batch that begins so long after ROW_OPENED_NS is offered

# ---- ring, page 0: the producer's ----------------------------------------------------------
RING_ID: Final = 5
RING_SLOTS: Final = 6
RING_SLOT_BYTES: Final = 7
TAIL: Final = 256 // WORD  # in slots; everything before it is published
CAPTURED: Final = 384 // WORD  # events in frames; all counters count events
DROPPED: Final = 512 // WORD  # found no room
OVERSIZE: Final = DROPPED + 1  # larger than the ring
ERRORS: Final = DROPPED + 2  # could not be serialized
ENDED: Final = DROPPED + 3  # Ended
SAMPLED_OUT: Final = DROPPED + 4  # not offered: in batches that sampling left out
SHED: Final = DROPPED + 5  # not offered: in batches that the budget left out
COST_NS: Final = 640 // WORD  # of a batch that is offered to this session
SERVED_PPM: Final = COST_NS + 1  # share of its batches that is offered, in millionths; 0: all
OVERTAKE: Final = 768 // WORD  # in slots, of a ring that is overwritten: frames before it are gone
OVERWRITTEN: Final = OVERTAKE + 1  # events in the frames before it

# ---- ring, page 1: the consumer's (indices within that page) -------------------------------
HEAD: Final = 0  # in slots; everything before it may be overwritten
RELEASED: Final = 128 // WORD  # events released, also of the frame at HEAD; stored before HEAD
ABANDONED: Final = RELEASED + 1  # of these, events that were never handed out
MISSED: Final = RELEASED + 2  # events found missing in front of frames
GAPS: Final = RELEASED + 3  # places where events were missing
WAITING: Final = 256 // WORD  # while the consumer sleeps, the number of that sleep; else 0
CONSUMER_PAGE: Final = PAGE  # bytes from the segment's start
SLOTS: Final = 2 * PAGE  # bytes from the segment's start

FRAME: Final = Struct("=QQQQQIIHHI")
FRAME_BYTES: Final = FRAME.size
MAX_PAYLOAD_BYTES: Final = (1 << 32) - 1

MIN_SLOT_BYTES: Final = 64  # the header must not wrap
MAX_SLOT_BYTES: Final = PAGE
MIN_SLOTS: Final = 2

# ---- recording, page 0: the engine's, since 5.2 (the rest as in a ring) ----------------------
RECORDED_STAGE: Final = 8  # index into the info block's stages; their number: triggers
RECORDED_INFO_BYTES: Final = 9
RECORDED_PID: Final = 10
RECORDED_OFFSET_NS: Final = 11  # as CLOCK_OFFSET_NS
KEEP_LANES: Final = 12  # recordings of so many dead lanes of this engine are kept,
KEEP_BYTES: Final = 13  # and of these, so many bytes; but always those of the newest
ACTIVE_NS: Final = 128 // WORD  # wall clock: when the engine last wrote here that it is active

# ---- recording, page 1: the engine's, since 5.2 (indices within that page) ----------------
CLOCKS: Final = 0  # how many entries were ever written; entry n stands at place n % MAX_CLOCKS
CLOCK_ENTRY: Final = 1  # first word of the first entry: since_ns (CLOCK_MONOTONIC), to_wall_ns
MAX_CLOCKS: Final = 255

# ---- request, page 0: the consumer's, since 5.1 --------------------------------------------
REQUEST_INFO_BYTES: Final = 5
MAX_REQUEST_BYTES: Final = 1 << 16  # of its info block
MAX_REQUESTS: Final = 1024  # a lane that starts looks at no more than that

# ---- locks on the registry's descriptor ----------------------------------------------------
LOCK_ENGINE: Final = 0  # held by the engine for its life
LOCK_TABLE: Final = 1  # the mutex of page 1
LOCK_ROWS: Final = 16  # + row: held by that session's consumer for its life
LOCK_REQUEST: Final = 0  # of a request's own descriptor: held by its consumer for its life
LOCK_RECORDING: Final = 0  # of a recording's own descriptor: held by its engine for its life


class EngineState(IntEnum):
    """Word ``ENGINE_STATE``."""

    RUNNING = 1
    CLOSED = 2


class RowState(IntEnum):
    """Word ``ROW_STATE``. CLAIMED rows have an id but no ring yet."""

    FREE = 0
    CLAIMED = 1
    OPEN = 2


class Owner(IntEnum):
    """Word ``ROW_OWNER``: whose close or death ends the session, besides that of the engine."""

    ENGINE = 1
    CONSUMER = 2
    NOBODY = 3  # kept for the next consumer until it is closed or expires
    REQUEST = 4  # opened by the engine for a request; its consumer's, who may not have it yet


class Verdict(IntEnum):
    """The engine's answer to a row, in ``verdict[row]`` beside the session's id."""

    NONE = 0
    ACCEPTED = 1
    TOO_LARGE = 2  # over the engine's max_buffer_bytes
    UNUSABLE = 3  # there is no such ring, or it does not fit its row


class Ended(IntEnum):
    """Word ``ENDED`` of a ring: why no more frames will come."""

    NO = 0
    ENGINE_EXIT = 1
    EXPIRED = 2
    CLOSED = 3  # by its owner; a kept one, by anyone
    EVICTED = 4  # the consumer's position was impossible


def format_word(major: int, minor: int) -> int:
    """Return what stands in ``FORMAT``."""
    return minor << MINOR_SHIFT | major


def row(index: int) -> int:
    """Return the first word of session row ``index``."""
    return _FIRST_ROW + index * ROW_WORDS


def verdict(row_index: int) -> int:
    """Return the word in which the engine answers session row ``row_index``."""
    return _VERDICTS + row_index


def info_offset(rows: int) -> int:
    """Return the bytes before a registry's info block, for a table of ``rows`` rows."""
    table_end = row(rows) * WORD
    return (table_end + PAGE - 1) // PAGE * PAGE


def ring_bytes(slots: int, slot_bytes: int) -> int:
    """Return the bytes of a ring's segment."""
    return SLOTS + slots * slot_bytes


def slots_for(length: int, slot_bytes: int) -> int:
    """Return how many slots a frame fills whose payload has ``length`` bytes."""
    return (length + FRAME_BYTES + slot_bytes - 1) // slot_bytes
