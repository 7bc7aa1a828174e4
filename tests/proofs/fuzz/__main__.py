"""``python -m tests.proofs.fuzz TARGET --runs N --seed S``: the longer run of one target.

If atheris can be imported, it drives the target, guided by the coverage of tapring's own code.
Otherwise, or with ``--engine random``, a seeded random stream does. ``--input HEX`` runs one input
again.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import secrets
import sys

from . import TARGETS

LONGEST_S = 30  # an input takes microseconds


def main() -> None:
    arguments = _arguments()
    engine = arguments.engine or ("atheris" if importlib.util.find_spec("atheris") else "random")
    if arguments.input is not None:
        print(_load(arguments.target)(bytes.fromhex(arguments.input)))
        return
    print(f"fuzz {arguments.target}: {engine}, seed {arguments.seed}", flush=True)
    if engine == "atheris":
        _run_atheris(arguments.target, arguments.runs, arguments.seed)
    else:
        _run_random(arguments.target, arguments.runs, arguments.seed)


def _run_random(target: str, runs: int, seed: int) -> None:
    from .driving import Tally, run_random

    tally = Tally(target, _load(target), runs)
    tally.watch(LONGEST_S)
    run_random(tally, seed)


def _run_atheris(target: str, runs: int, seed: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["tapring"]):
        one_input = _load(target)
    from .driving import LONGEST_INPUT, Tally, bounded_memory, quietly

    tally = Tally(target, one_input, runs)
    options = (
        f"-runs={runs}",
        f"-seed={seed}",
        f"-max_len={LONGEST_INPUT}",
        "-len_control=0",
        f"-timeout={LONGEST_S}",
        "-rss_limit_mb=1024",
        "-verbosity=0",
        "-exact_artifact_path=/dev/null",  # the tally prints what failed
    )
    with bounded_memory(), quietly():
        atheris.Setup([sys.argv[0], *options], tally.run)
        atheris.Fuzz()


def _load(target: str):
    return importlib.import_module(f"{__package__}.{target}").one_input


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(31) or 1)
    parser.add_argument("--engine", choices=("atheris", "random"))
    parser.add_argument("--input", metavar="HEX", help="run this one input")
    return parser.parse_args()


if __name__ == "__main__":
    main()
