"""The command: tries a random sample of the mutants, and prints the survivors and a summary."""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .copies import copies, may_mount
from .mutations import Mutant
from .project import TESTS, Project

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


def main(arguments: list[str] | None = None) -> int:
    """Try the mutants, and print the survivors and a summary."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeat a run")  # noqa: S311
    parser.add_argument("--mutants", type=int, default=200, help="how many to try")
    parser.add_argument("--modules", nargs="*", default=[], help="only these, or these packages")
    parser.add_argument("--tests", choices=TESTS, default="all", help="how far to look for a test")
    parser.add_argument("--killed", action="store_true", help="print the killed ones, too")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    options = parser.parse_args(arguments)
    project = Project(options.root.resolve())
    possible = project.mutants(options.modules)
    sample = random.Random(options.seed).sample(possible, min(options.mutants, len(possible)))  # noqa: S311
    equivalents = project.equivalents()
    tried = [each for each in sample if each.key not in equivalents]
    print(f"mutants: seed {options.seed}, {len(sample)} of {len(possible)} possible", flush=True)

    files = {each.module: project.test_files(each.module, options.tests) for each in tried}
    killed: Counter[str] = Counter()
    with copies(project.root) as made:
        began = time.monotonic()
        everything = list(dict.fromkeys(itertools.chain(*files.values())))
        if failed := made.run(everything, timeout=3600) if tried else "":
            sys.exit(f"mutants: without any change, this failed: {failed}")
        timeout = 60 + 3 * (time.monotonic() - began)
        with ThreadPoolExecutor(WORKERS if may_mount() else 1) as pool:
            runs = [pool.submit(made.run, files[each.module], timeout, each) for each in tried]
            try:
                for mutant, run in zip(tried, runs, strict=True):
                    killed[mutant.module] += bool(run.result())
                    if options.killed or not run.result():
                        print(report(mutant, run.result()), flush=True)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                made.stop()
                raise
    summarize(tried, killed, len(sample) - len(tried))
    return 0


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
