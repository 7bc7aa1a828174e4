"""The command: tries a random sample of the mutants, and prints the survivors and a summary."""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

from .copies import Copies, copies, may_mount
from .mutations import Mutant
from .notes import Notes
from .project import TESTS, Project
from .trying import Trial

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


def main(arguments: list[str] | None = None) -> int:
    """Try the mutants, and print the survivors and a summary."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    seeds = [random.randrange(10**6)]  # noqa: S311
    parser.add_argument("--seed", type=int, nargs="+", default=seeds, help="repeat a run, or some")
    parser.add_argument("--mutants", type=int, default=200, help="how many to try for each seed")
    parser.add_argument("--modules", nargs="*", default=[], help="only these, or these packages")
    parser.add_argument("--tests", choices=TESTS, default="all", help="how far to look for a test")
    parser.add_argument("--killed", action="store_true", help="print the killed ones, too")
    parser.add_argument("--notes", type=Path, help="a file by which a stopped run goes on")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    options = parser.parse_args(arguments)
    project = Project(options.root.resolve())
    possible = project.mutants(options.modules)
    sample: dict[Mutant, None] = {}
    for seed in options.seed:
        count = min(options.mutants, len(possible))
        sample |= dict.fromkeys(random.Random(seed).sample(possible, count))  # noqa: S311
        print(f"mutants: seed {seed}, {count} of {len(possible)} possible", flush=True)
    equivalents = project.equivalents()
    tried = [each for each in sample if each.key not in equivalents]
    with copies(project.root) as made:
        noticed = Notes(project.root, tried, options.notes)
        try_all(made, project, tried, options.tests, noticed)
    for each in tried:
        if options.killed or each not in noticed:
            print(report(each, noticed.get(each, "")), flush=True)
    summarize(tried, Counter(each.module for each in noticed), len(sample) - len(tried))
    return 0


def try_all(
    made: Copies, project: Project, tried: list[Mutant], depth: str, noticed: Notes
) -> None:
    """Note in ``noticed`` which test notices which mutant."""
    near = {each.module: project.near(each.module) for each in tried}
    far = project.far(depth)
    began = time.monotonic()
    everything = list(dict.fromkeys(itertools.chain(*near.values(), far)))
    if failed := made.run(3600, everything, []) if tried else "":
        sys.exit(f"mutants: without any change, this failed: {failed}")
    timeout = 60 + 3 * (time.monotonic() - began)
    trial = Trial(partial(made.run, timeout), WORKERS if may_mount() else 1, noticed)
    try:
        trial.near((each, near[each.module]) for each in tried if each not in noticed)
        left = len(tried) - len(trial.noticed)
        print(f"mutants: {left} are left after the tests beside them", flush=True)
        trial.far(tried, far)
    except BaseException:
        made.stop()
        raise


def report(mutant: Mutant, failed: str) -> str:
    """One line about a mutant: where, what was changed, and which test noticed."""
    where = f"tapring/{mutant.module.replace('.', '/')}.py:{mutant.line}"
    noticed = f"  noticed by {failed}" if failed else ""
    return f"{where}  {mutant.before} -> {mutant.after}{noticed}"


def summarize(tried: list[Mutant], killed: Counter[str], equivalent: int) -> None:
    """Print how many were killed: by module, and in all."""
    for module, count in sorted(Counter(each.module for each in tried).items()):
        print(f"{module:24} {killed[module]:4}/{count}")
    share = f"{killed.total() / len(tried):.1%}" if tried else "nothing to try"
    print(f"killed {killed.total()}/{len(tried)}: {share}; {equivalent} equivalent")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
