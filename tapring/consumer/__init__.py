"""The process that reads: opening sessions, reading their rings, keeping their account."""
