"""Engines and consumers of all kinds, killed, stopped, starved and forked from a seed.

``python -m tests.proofs.soak --minutes 10`` starts them, and after each round checks the ledger of
every session to the event, what is left in /dev/shm, and the memory and descriptors of the engines.
A seed makes the plan of each round; what the kernel makes of it differs from run to run.

::

    plan        what happens in a round, and when: drawn from the seed
    rounds      makes it happen, ends it, has it inspected
    field       where rounds are played: what outlives them, and the cleaning up
    players     engines and consumers as a round knows them
    processes   forking, killing, stopping, limits
    engine      the program of an engine and of its workers
    consumer    the programs of consumers
    events      events that say who made them, in each kind of stage
    witness     what processes write down so that it survives them; rings that are kept
    evidence    what they wrote, read back
    accountant  holds the evidence against the ledger of a session
    inspection  everything else that is checked: memory, descriptors, names, endings
"""
