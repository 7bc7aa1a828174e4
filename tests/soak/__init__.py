"""Engines and consumers of all kinds, killed, stopped, starved and forked from a seed.

``python -m tests.soak --minutes 10`` starts them, and after each round checks the ledger of every
session to the event, what is left in /dev/shm, and the memory and descriptors of the engines. A
seed makes the plan of each round; what the kernel makes of it differs from run to run.

::

    plan        what happens in a round, and when: drawn from the seed
    rounds      makes it happen, ends it, collects the evidence
    processes   forking, killing, stopping, limits
    engine      the program of an engine and of its workers
    consumer    the programs of consumers
    events      events that say who made them, in each kind of stage
    witness     what processes write down so that it survives them; rings that are kept
    accountant  holds the evidence against the ledgers
"""
