"""The contestants that take two processes: a producer here, and its consumer in a child.

``catalogue`` lists them all; it stands apart so that a consumer imports its own family alone.
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
