"""The two-process contestants: a producer here, and its consumer in a child process.

``catalogue`` lists them all. It is separate so that a consumer imports only its own family.
"""

from .channel import BUFFER_BYTES
from .process import ENVIRONMENT, NO_CREDIT, Consumer, Taken, child
from .taps import Read, Tapped, as_events, as_lists, as_payloads, tapped

__all__ = [
    "BUFFER_BYTES",
    "ENVIRONMENT",
    "NO_CREDIT",
    "Consumer",
    "Read",
    "Taken",
    "Tapped",
    "as_events",
    "as_lists",
    "as_payloads",
    "child",
    "tapped",
]
