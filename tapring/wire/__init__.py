"""The bytes that two processes share: their layout, frames, both ends of a ring, the account.

No descriptor, clock, sleep or process lives here.
"""
