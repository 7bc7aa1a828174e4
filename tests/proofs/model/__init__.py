"""Every interleaving and reordering of the real Writer, Reader and Registry, for small bounds.

The model does not describe the code under test a second time. It runs that code, over buffers that
record each load and store. The threads of one engine share more than buffers: lists, attributes,
and how many frames refer to a token. Their code runs for real, one thread at a time, and every
schedule within bounds is played.

- ``automaton`` unfolds a thread into a graph of single accesses, by running its code again with the
  values that its loads have returned.
- ``machine`` defines in which order accesses reach memory, for three memory models.
- ``explorer`` visits every state that this allows; ``horizon`` computes what may still come.
- ``properties`` are the sentences that must hold.
- ``producer``, ``consumer``, ``doorbell`` and ``table_threads`` are the programs.
- ``ring_scenarios``, ``bell_scenarios`` and ``table_scenarios`` set the bounds.
- ``turns`` runs real threads one at a time, up to the ``points`` at which another may go on, and
  ``schedules`` plays every schedule of them. ``gate_world`` and ``tap_world`` are what the threads
  of an engine do to each other, and ``gate_scenarios`` sets the bounds.
- ``planted`` and ``gate_planted`` have the bugs that must be found, and ``litmus`` the textbook
  cases that the explorer itself must get right.

``python -m tests.proofs.model`` prints what was visited.
"""
