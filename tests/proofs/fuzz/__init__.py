"""Hostile bytes against both sides: ``python -m tests.proofs.fuzz reader|writer|registry|attach``.

A target is one function, ``one_input(data: bytes) -> str``. It reads its choices out of ``data``,
lets the real code meet what they make, asserts what must hold, and says in a few words what
came of it. hypothesis, atheris and a seeded random stream all drive that same function.
"""

TARGETS = ("reader", "writer", "registry", "attach")
