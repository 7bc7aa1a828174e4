"""Hostile bytes against both sides, and hostile batches: ``python -m tests.proofs.fuzz TARGET``.

A target is one function, ``one_input(data: bytes) -> str``. It reads its choices from ``data``,
runs the real code against the bytes that they make, asserts what must hold, and returns the outcome
in a few words. hypothesis, atheris and a seeded random stream all drive this same function.
"""

TARGETS = ("reader", "writer", "attach", "recording", "registry", "batches", "hooks")
