"""tapring: show what a running Python engine sees, live, from another process.

What is listed here is what is supported; ``docs/`` explains it.
"""

from ._version import __version__ as __version__
from .consumer.lanes import LaneEnded, LaneJoined
from .consumer.opening import attach_session, capture, close_session
from .consumer.past import Past, RecordingRead, past
from .consumer.session import Session
from .consumer.stats import Stats
from .consumer.tagged import Tagged
from .dumping import dump_on_exception
from .engine.complaints import TapWarning
from .engine.cost import Cost, SessionCost
from .engine.handle import Handle
from .engine.snapshot import Snapshot
from .engine.tap import Tap
from .engine.taps import get_tap
from .errors import (
    BufferLimit,
    DurationLimit,
    EngineNotFound,
    NotPermitted,
    NotRecorded,
    RemoteAccessOff,
    RingCorrupt,
    SessionBusy,
    SessionLimit,
    SessionNotFound,
    SharedMemoryFull,
    StageNotFound,
    TapError,
    VersionMismatch,
)
from .events.kinds import array
from .events.redaction import Redactor
from .events.selection import Select
from .frame import Frame, Origin
from .literals import Delivery, EndReason, StageKind, Wake
from .shm.discovery import EngineInfo, EngineList, SessionInfo, engines
from .shm.info import StageInfo
from .shm.refusals import LaneRefused

__all__ = [
    "BufferLimit",
    "Cost",
    "Delivery",
    "DurationLimit",
    "EndReason",
    "EngineInfo",
    "EngineList",
    "EngineNotFound",
    "Frame",
    "Handle",
    "LaneEnded",
    "LaneJoined",
    "LaneRefused",
    "NotPermitted",
    "NotRecorded",
    "Origin",
    "Past",
    "RecordingRead",
    "Redactor",
    "RemoteAccessOff",
    "RingCorrupt",
    "Select",
    "Session",
    "SessionBusy",
    "SessionCost",
    "SessionInfo",
    "SessionLimit",
    "SessionNotFound",
    "SharedMemoryFull",
    "Snapshot",
    "StageInfo",
    "StageKind",
    "StageNotFound",
    "Stats",
    "Tagged",
    "Tap",
    "TapError",
    "TapWarning",
    "VersionMismatch",
    "Wake",
    "array",
    "attach_session",
    "capture",
    "close_session",
    "dump_on_exception",
    "engines",
    "get_tap",
    "past",
]
