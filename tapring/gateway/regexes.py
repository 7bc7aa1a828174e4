"""Regular expressions of people whom the server does not trust: RE2, whose time is linear.

``re`` can take years for a short pattern and a short line ((a+)+$), and lets nothing else run
meanwhile. RE2 has no lookaround and no backreferences; what it lacks is refused.
"""

from __future__ import annotations

import re
from typing import Any, cast

import re2

_MEMORY: int = 8 << 20  # bytes for one pattern; a larger one is refused


def linear(text: str) -> re.Pattern[str]:
    """Return ``text`` compiled by RE2: what selection and redaction use of a pattern is there.

    Raises ValueError for a pattern that is wrong, or that RE2 lacks.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled: Any = re2.compile(text, options)
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if error.args else error
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise ValueError(
            f"Invalid regular expression {text[:80]!r}: {reason}. Lookaround (?=...) and "
            f"backreferences are not available here"
        ) from None
    return cast("re.Pattern[str]", compiled)
