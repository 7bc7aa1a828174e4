"""Engines and consumers of all kinds, killed, stopped, starved, forked, besieged and recycled.

``python -m tests.proofs.soak --minutes 10`` starts them. After each round it checks the ledger of
every session to the event, what is left in /dev/shm, and the memory and descriptors of the engines.
Two engines of three also record: after each kill, and at the end, their recordings are compared
with what they had noted, to the event.
The plan of each round is drawn from a seed; how the kernel schedules it differs from run to run.
In one round of three, a master recycles its workers while consumers follow them.

::

    plan        what happens in a round, and when, drawn from the seed
    rounds      carries a plan out, ends the round, starts the inspection
    field       what outlives the rounds, and the cleaning up
    players     the engines and consumers of a round
    processes   forking, killing, stopping, limits
    engine      the program of an engine and of its workers
    besieged    the program of an engine to which things happen inside while it offers
    ordeals     what happens to it: signals, finalizers, hooks, changing batches, lost descriptors
    refusals    system calls that the kernel refuses to one thread
    recycling   the programs of a master and of the workers that it recycles;
                recycling_plan and recycling_round plan a round of these and carry it out
    consumer    the programs of consumers
    events      events that name their lane, thread and number, for each kind of stage
    witness     logs, words and rings that survive the process that wrote them
    evidence    reads back what the processes wrote
    accountant  compares the evidence with the ledger of a session
    turnover    compares what each recycled worker noted with what each consumer tells of it
    remains     compares what dead lanes have recorded with what they noted
    inspection  all other checks: memory, descriptors, names, how processes ended
"""
