"""Every interleaving and reordering of the real Writer, Reader and Registry, for small bounds.

The model does not describe the code under test a second time. It runs that code, over buffers that
record each load and store.

- ``automaton`` unfolds a thread into a graph of single accesses, by running its code again with the
  values that its loads have returned.
- ``machine`` defines in which order accesses reach memory, for three memory models.
- ``explorer`` visits every state that this allows; ``horizon`` computes what may still come.
- ``properties`` are the sentences that must hold.
- ``producer``, ``consumer``, ``doorbell`` and ``table_threads`` are the programs.
- ``ring_scenarios``, ``bell_scenarios`` and ``table_scenarios`` set the bounds.
- ``planted`` has the bugs that must be found, and ``litmus`` the textbook cases that the explorer
  itself must get right.

``python -m tests.proofs.model`` prints what was visited.
"""
