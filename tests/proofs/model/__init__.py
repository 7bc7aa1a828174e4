"""Every interleaving and reordering of the real Writer, Reader and Registry, for small bounds.

The code under test is not described a second time: it runs, over buffers that record each load
and store. ``automaton`` unfolds what a thread does into a graph of single accesses, by running
it again with the values its loads have returned; ``machine`` says in which order accesses reach
memory under each of three memory models; ``explorer`` visits every state that this allows
(``horizon`` says what may still come), and ``properties`` are the sentences that must hold.
``producer``, ``consumer``, ``doorbell`` and ``table_threads`` are the programs, ``ring_scenarios``,
``bell_scenarios`` and ``table_scenarios`` the bounds, ``planted`` the bugs that must be found,
``litmus`` the textbook cases that the explorer itself must get right.
``python -m tests.proofs.model`` prints what was visited.
"""
