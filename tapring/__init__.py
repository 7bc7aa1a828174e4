"""tapring: show what a running Python engine sees, live, from another process.

What is listed here is what is supported; ``docs/`` explains it.
"""

from .account import Stats
from .cost import Cost, SessionCost
from .discovery import EngineInfo, SessionInfo, engines
from .errors import (
    BufferLimit,
    DurationLimit,
    EngineNotFound,
    NotPermitted,
    NotRedactable,
    RingCorrupt,
    SessionBusy,
    SessionLimit,
    SessionNotFound,
    SharedMemoryFull,
    StageNotFound,
    TapError,
    VersionMismatch,
)
from .handle import Handle
from .lane import StageInfo
from .opening import attach_session, capture, close_session
from .redact import Redactor
from .select import Select
from .session import Session
from .snapshot import Snapshot
from .source import Frame
from .stages import array
from .tap import Tap, TapWarning

__version__ = "0.1.0"

__all__ = [
    "BufferLimit",
    "Cost",
    "DurationLimit",
    "EngineInfo",
    "EngineNotFound",
    "Frame",
    "Handle",
    "NotPermitted",
    "NotRedactable",
    "Redactor",
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
    "StageNotFound",
    "Stats",
    "Tap",
    "TapError",
    "TapWarning",
    "VersionMismatch",
    "array",
    "attach_session",
    "capture",
    "close_session",
    "engines",
]
