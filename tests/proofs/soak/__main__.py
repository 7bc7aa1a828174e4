"""``python -m tests.proofs.soak`` plays rounds until the time is over. It prints the seed first.

It exits with code 1 at the first difference, and prints the seed and the round to play again.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Final

from tapring.shm.segment import DIRECTORY

from . import processes
from .accountant import Difference
from .field import Field
from .processes import Hung

_ROUNDS_OF_A_LINE: Final = 10
_OWN_SHM: Final = "TAPRING_SOAK_OWN_SHM"
# The default size in a container: small enough to be filled to the last byte again and again.
_MOUNT: Final = 'mount -t tmpfs -o size=64m soak /dev/shm && exec "$@"'


def main() -> int:
    """Play rounds; return the exit code."""
    options = _options()
    if not options.host_shm:
        _take_a_shm_of_our_own(options.seed)
    print(f"soak: seed {options.seed}", flush=True)
    whose = "our own" if os.environ.get(_OWN_SHM) else "the machine's"
    print(f"soak: /dev/shm is {whose}, {shutil.disk_usage(DIRECTORY).total >> 20} MiB", flush=True)
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place = Path(tempfile.mkdtemp(prefix="tapring-soak-"))
    field = Field(options.seed, place)
    started = time.monotonic()
    try:
        _play(field, options, started)
        field.retire()
    except Exception as error:
        if not isinstance(error, Difference | Hung):
            traceback.print_exc(file=sys.stdout)
        again = (
            f"python -m tests.proofs.soak --seed {options.seed} --round {field.number} --times 20"
        )
        print(f"soak: FAILED: seed {options.seed} round {field.number}: {error}")
        print(f"soak: to play it again: {again}\nsoak: its logs are in {place}")
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(place)
        print(f"soak: interrupted in round {field.number} of seed {options.seed}")
        return 130
    finally:
        field.clean()
    shutil.rmtree(place)
    _summarize(field, time.monotonic() - started)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.soak", description=__doc__)
    parser.add_argument("--seed", default=str(secrets.randbelow(1 << 32)))
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--consumer-kills", type=int, default=0, help="go on until there are many")
    parser.add_argument("--engine-kills", type=int, default=0, help="go on until there are many")
    parser.add_argument("--recyclings", type=int, default=0, help="go on until there are many")
    parser.add_argument("--round", type=int, help="play this round alone")
    parser.add_argument("--times", type=int, default=1, help="how often, with --round")
    parser.add_argument("--host-shm", action="store_true", help="do not mount a /dev/shm apart")
    return parser.parse_args()


def _take_a_shm_of_our_own(seed: str) -> None:
    """Start again in a mount namespace with a small /dev/shm, if this user may make one."""
    if os.environ.get(_OWN_SHM):
        return
    wrap = ["unshare", "-m", "sh", "-c", _MOUNT, "sh"]
    try:
        subprocess.run([*wrap, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return
    os.environ[_OWN_SHM] = "1"
    again = [sys.executable, "-m", "tests.proofs.soak", *sys.argv[1:], "--seed", seed]
    os.execvp(wrap[0], [*wrap, *again])


def _play(field: Field, options: argparse.Namespace, started: float) -> None:
    if options.round is not None:
        for _ in range(options.times):
            field.play(options.round)
        return
    number = 0
    while not _enough(field, options, time.monotonic() - started):
        field.play(number)
        number += 1
        if number % _ROUNDS_OF_A_LINE == 0:
            counts, seconds = field.counts, time.monotonic() - started
            print(
                f"soak: {seconds:.0f} s: {counts.rounds} rounds, {counts.consumer_kills} consumers "
                f"and {counts.engine_kills} engines killed, {counts.recycled.workers:,} workers "
                f"recycled, {field.totals.sessions} sessions, {field.totals.offered:,} events",
                flush=True,
            )


def _enough(field: Field, options: argparse.Namespace, seconds: float) -> bool:
    counts = field.counts
    return (
        seconds >= 60 * options.minutes
        and counts.consumer_kills >= options.consumer_kills
        and counts.engine_kills >= options.engine_kills
        and counts.recycled.workers >= options.recyclings
    )


def _summarize(field: Field, seconds: float) -> None:
    counts, totals = field.counts, field.totals
    met = ", ".join(f"{times:,} {each}" for each, times in sorted(counts.met.items()))
    kills = counts.consumer_kills + counts.engine_kills
    recycled, recorded = counts.recycled, counts.recorded
    ends = ", ".join(f"{times:,} {end}" for end, times in sorted(recycled.ends.items()))
    print(
        f"soak: {counts.rounds} rounds in {seconds:.1f} s, {kills / seconds:.1f} kills a second\n"
        f"soak: {counts.consumers} consumers, of which {counts.consumer_kills} were killed and "
        f"{counts.refused} refused or cut short; {counts.engine_kills} engines killed; "
        f"{counts.stops} stopped, {counts.forks} forks, {counts.shortages} shortages\n"
        f"soak: {totals.sessions} sessions, {totals.offered:,} events offered = "
        f"{totals.delivered:,} delivered + {totals.unread:,} unread + {totals.lost:,} dropped, "
        f"oversize or not serializable; {totals.left_out:,} sampled out or shed\n"
        f"soak: {recycled.workers:,} workers recycled ({ends}), of which {recycled.followed:,} had "
        f"a lane under --follow; {recycled.noted:,} events noted, 0 unaccounted, "
        f"{recycled.uncertain:,} more in batches that a kill cut short\n"
        f"soak: recordings of {recorded.lanes:,} dead lanes, {recorded.killed:,} of them killed "
        f"({recorded.at_once:,} read at once): "
        f"{recorded.there:,} events there and {recorded.overwritten:,} overwritten = all that was "
        f"captured; {recorded.dumps:,} dumps of engines at work, {recorded.dumped:,} events, "
        f"{recorded.overtaken:,} overwritten meanwhile\n"
        f"soak: in the middle of offers: {met or 'nothing'}\n"
        f"soak: largest growth of an engine {counts.growth_bytes / 2**20:.1f} MiB\n"
        f"soak: all ledgers closed"
    )


if __name__ == "__main__":
    sys.exit(main())
