"""The conformance kit: checks any reader of rings, given as a command, against docs/protocol.md.

``python -m tests.proofs.conformance [--kinds ...] [--delivery ...] [--only NAME] -- COMMAND...``

docs/conformance.md says what a reader must keep so that it can be checked. The kit lays out
segments byte by byte (``image``), lets the reader read them (``running``), and compares what it
printed and stored with what the page says (``oracle``). ``live`` lets it read real engines, and
kills it.
"""
