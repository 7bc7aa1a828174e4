"""Mutation testing: makes random changes to the code, one at a time, and prints those unnoticed.

    python -m tools.mutants --seed 7 --mutants 200 --modules wire consumer.session

Each change is made in a copy of the repository, in which pytest then runs in a single worker, so
that ``tests/conftest.py`` gives it a /dev/shm of its own. The module's own test file comes first,
then those of its package; the first failure ends the run. What is left then is tried together
with ``tests/promises`` and the others (see ``trying``).
A test that takes too long counts as failed. Tests that measure time are left out, because another
mutant runs beside them. Hypothesis uses the same examples in every run.

``tools/equivalent_mutants.txt`` lists changes that no test can notice, each with the reason. They
are counted apart.
"""
