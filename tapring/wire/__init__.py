"""The bytes that two processes share: their layout, frames, both ends of a ring, the account.

Nothing in this package opens a descriptor, reads a clock, sleeps or knows about processes.
"""
